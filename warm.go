package holt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/snapshot"
)

// maxTemplates is how many templates are kept. The one that was not used for the
// longest time goes first.
const maxTemplates = 16

// Warm keeps a template of the VM's guest, booted and with its agent ready, and makes
// the VM go on from it in place of booting, from the second start of a VM with the same
// machine, kernel, root and directories on, whichever program it runs. The first start
// makes the template and takes longer for it.
//
// It needs the kvm backend. A VM with disks or a nested hypervisor is booted as ever.
func Warm() Option { return func(o *options) { o.warm = true } }

// warmUp gives the VM the origin that its template is, if it can have one.
func (vm *VM) warmUp(ctx context.Context) error {
	c := vm.config
	if !vm.options.warm || vm.origin != nil || c.RootDisk != (Disk{}) || len(c.Disks) > 0 || c.Nested {
		return nil
	}
	dirs, err := paths.Default()
	if err != nil {
		return err
	}
	if err := canSave(ctx, vm.options.backend, dirs.Cache); err != nil {
		return fmt.Errorf("warm start: %w", err)
	}
	if err := vm.options.findBinary(); err != nil {
		return err
	}
	name, err := vm.templateName(dirs)
	if err != nil {
		return fmt.Errorf("warm start: %w", err)
	}
	store := snapshot.OpenAt(filepath.Join(dirs.Cache, "templates"))
	stored, err := store.Find(name)
	if err == nil {
		if err = vm.useTemplate(store, stored); err == nil {
			_ = stored.Used() // it may just have been removed, and is open
			return nil
		}
		_ = store.Remove(ctx, stored) // it is damaged, or gone: another takes its place
	} else if !errors.Is(err, snapshot.ErrNotFound) {
		return fmt.Errorf("warm start: %w", err)
	}
	if stored, err = vm.makeTemplate(ctx, store, name); err == nil {
		err = vm.useTemplate(store, stored)
	}
	if err != nil {
		return fmt.Errorf("warm start: %w", err)
	}
	return nil
}

// useTemplate makes a template the VM's origin. One that no VM can go on from, because this
// host's KVM is another now or its memory is damaged, is removed, and made anew next time.
func (vm *VM) useTemplate(store *snapshot.Store, stored *snapshot.Snapshot) (err error) {
	if vm.origin, err = (&Snapshot{stored}).open(vm.options); err != nil {
		return err
	}
	vm.origin.discard = func() { _ = store.Remove(context.Background(), stored) }
	return nil
}

// canSave says why VMs on a backend cannot be saved on this host.
func canSave(ctx context.Context, backend, cache string) error {
	if backend == hypervisor.NameQEMU {
		return errors.New("the qemu backend cannot save a VM, as warm starts and pools do: use the kvm backend")
	}
	if p := hypervisor.ProbeKVM(ctx, cache); !p.Usable {
		return fmt.Errorf("only the kvm backend can save a VM, and %s", p.Detail)
	}
	return nil
}

// template is the configuration of the VM without what a clone may have otherwise: its
// program, its ports and where its output goes.
func (c Config) template() Config {
	c = c.clone()
	c.ExecPath, c.Args, c.Env, c.WorkdirPath, c.Rlimits = "/", nil, nil, "", nil
	c.alone()
	return c
}

// templateName names the template of all VMs that can go on from it.
func (vm *VM) templateName(dirs paths.Dirs) (string, error) {
	t := vm.config.template()
	t.LogLevel = LogOff
	t.CPUQuotaUS = nil
	files := []string{vm.options.binary}
	if agent := os.Getenv("HOLT_AGENT"); agent != "" { // in place of the binary's own
		files = append(files, agent)
	}
	for _, dir := range t.MappedDirs {
		files = append(files, dir.Host)
	}
	for _, path := range []string{t.RootPath, t.RootfsPath, t.KernelPath} {
		if path != "" {
			files = append(files, path)
		}
	}
	var k kernel.Kernel
	if t.KernelPath == "" {
		var err error
		if k, err = kernel.Open(dirs).Default(); err != nil {
			return "", err
		}
	}
	key := struct {
		Config Config
		Kernel string
		Host   string
		Files  []fileKey
	}{Config: t, Kernel: k.SHA256, Host: hostKey()}
	for _, path := range files {
		f, err := keyOf(path)
		if err != nil {
			return "", err
		}
		key.Files = append(key.Files, f)
	}
	text, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return "t-" + hex.EncodeToString(sum[:16]), nil
}

// hostKey tells hosts apart whose processors or kernels differ: what a guest was shown
// on one need not be there on the other, and the cache may be on a disk that moves.
func hostKey() string {
	processor, _ := os.ReadFile("/sys/devices/system/cpu/modalias") // its kind and features, if sysfs is there
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return string(processor) + string(kernel)
}

// fileKey tells a file or directory of the host from another or, if it is a file, from
// what it was before.
type fileKey struct {
	Dev, Ino        uint64
	Size, Sec, Nsec int64
}

func keyOf(path string) (fileKey, error) {
	if path == "" { // no binary: the monitor runs in this program
		path = "/proc/self/exe"
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fileKey{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	k := fileKey{Dev: st.Dev, Ino: st.Ino}
	if st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		k.Size, k.Sec, k.Nsec = st.Size, st.Mtim.Sec, st.Mtim.Nsec
	}
	return k, nil
}

// makeTemplate boots a guest without a program and saves it.
func (vm *VM) makeTemplate(ctx context.Context, store *snapshot.Store, name string) (*snapshot.Snapshot, error) {
	held := &VM{config: vm.config.template(), options: vm.options, Log: vm.Log}
	held.options.hold, held.options.warm, held.options.name = true, false, ""
	if err := held.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = held.Kill() }()
	stored, err := held.snapshotTo(ctx, store, name, snapshotOptions{})
	if _, exists := errors.AsType[*snapshot.ExistsError](err); exists {
		return store.Find(name) // somebody else was quicker
	}
	if err != nil {
		return nil, err
	}
	_, _ = store.Prune(ctx, maxTemplates) // the next one that is made tries again
	return stored, nil
}
