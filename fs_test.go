package holt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/agenttest"
	"github.com/holtvm/holt/internal/state"
)

// runningVM opens a VM called "fake" whose agent is serve.
func runningVM(t *testing.T, serve func(net.Conn)) (*VM, *agenttest.VM) {
	t.Helper()
	t.Setenv("HOLT_HOME", t.TempDir())
	fake := agenttest.Start(t, "fake", serve)
	vm, err := Open(t.Context(), "fake", WithBinary("/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	return vm, fake
}

// guestDirectory opens a VM whose files are those of a directory.
func guestDirectory(t *testing.T) (vm *VM, dir string) {
	t.Helper()
	dir = t.TempDir()
	vm, _ = runningVM(t, agenttest.Files(dir))
	return vm, dir
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

func TestFSKeepsTheRulesOfFileSystems(t *testing.T) {
	vm, dir := guestDirectory(t)
	mustWrite(t, dir+"/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	mustWrite(t, dir+"/empty", "")
	mustWrite(t, dir+"/a b/new\nline", strings.Repeat("long ", 500))
	if err := errors.Join(os.Symlink("etc/passwd", dir+"/link"), os.Mkdir(dir+"/nothing", 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(vm.FS(), "etc/passwd", "empty", "a b/new\nline", "link", "nothing"); err != nil {
		t.Error(err)
	}
}

func TestFSNamesNeedNotBeUTF8(t *testing.T) {
	vm, dir := guestDirectory(t)
	mustWrite(t, dir+"/d/caf\xe9", "latin")
	seen := map[string]bool{}
	err := fs.WalkDir(vm.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		seen[p] = true
		return err
	})
	b, rerr := vm.FS().ReadFile("d/caf\xe9")
	if err != nil || rerr != nil || !seen["d/caf\xe9"] || string(b) != "latin" {
		t.Errorf("walked %v, read %q: %v, %v", seen, b, err, rerr)
	}
}

func TestFSWrites(t *testing.T) {
	vm, dir := guestDirectory(t)
	f := vm.FS()
	when := time.Date(1969, 12, 31, 23, 59, 59, 5, time.UTC)
	for i, err := range []error{
		f.WriteFile("/f", []byte("one"), 0o640),
		f.Mkdir("d", 0o750),
		f.MkdirAll("/d/e/f", 0o755),
		f.Rename("/f", "d/g"),
		f.Symlink("g", "d/link"),
		f.Chown("d/g", -1, os.Getgid()),
		f.Chmod("d/link", 0o600|fs.ModeSticky|fs.ModeSetuid),
		f.Chtimes("d/link", when),
		f.RemoveAll("d/e"),
		f.RemoveAll("/none"),
	} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	info, err := f.Stat("d/g")
	if err != nil || info.Mode() != 0o600|fs.ModeSticky|fs.ModeSetuid || !info.ModTime().Equal(when) || info.Size() != 3 {
		t.Errorf("%v, %v", info, err)
	}
	if stat, ok := info.Sys().(*FileStat); !ok || stat.Links != 1 || stat.UID != uint32(os.Getuid()) {
		t.Errorf("Sys %+v", info.Sys())
	}
	if text, err := f.ReadLink("d/link"); err != nil || text != "g" {
		t.Errorf("link %q, %v", text, err)
	}
	if _, err := os.Lstat(dir + "/d/e"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("RemoveAll left it: %v", err)
	}
	w, err := f.OpenFile("d/g", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("0123456789"), 100_000)
	if n, err := io.Copy(w, bytes.NewReader(long)); err != nil || n != int64(len(long)) {
		t.Errorf("copied %d: %v", n, err)
	}
	if _, err := w.Write([]byte("end")); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if _, err := w.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if b, err := os.ReadFile(dir + "/d/g"); err != nil || string(b) != "one"+string(long)+"end" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestFSErrors(t *testing.T) {
	vm, dir := guestDirectory(t)
	f := vm.FS()
	mustWrite(t, dir+"/f", "x")
	mustWrite(t, dir+"/d/x", "x")
	open := func(flag int, name string) error {
		w, err := f.OpenFile(name, flag, 0o644)
		if err == nil {
			err = w.Close()
		}
		return err
	}
	second := func(_ any, err error) error { return err }
	for _, tt := range []struct {
		err  error
		want error
		text string
	}{
		{second(f.Open("none")), fs.ErrNotExist, "open none: no such file or directory"},
		{second(f.Open("/f")), fs.ErrInvalid, "open /f: invalid argument"},
		{second(f.Open("f\x00")), fs.ErrInvalid, ""},
		{second(f.ReadDir("f")), syscall.ENOTDIR, "readdir f: not a directory"},
		{second(f.ReadFile("d")), syscall.EISDIR, "read d: is a directory"},
		{second(f.Lstat("f/below")), syscall.ENOTDIR, ""},
		{f.Mkdir("/f", 0o755), fs.ErrExist, "mkdir /f: file exists"},
		{f.Remove("/d"), syscall.ENOTEMPTY, ""},
		{f.Remove("/none"), fs.ErrNotExist, ""},
		{f.Rename("/none", "/x"), fs.ErrNotExist, "rename /none /x: no such file or directory"},
		{f.Chown("f", -2, 0), fs.ErrInvalid, ""},
		{open(os.O_WRONLY|os.O_CREATE|os.O_EXCL, "f"), fs.ErrExist, ""},
		{open(os.O_WRONLY, "none"), fs.ErrNotExist, "write none: no such file or directory"},
		{open(os.O_RDONLY, "f"), fs.ErrInvalid, ""},
		{open(os.O_RDWR, "f"), fs.ErrInvalid, ""},
		{f.WriteFile("d", nil, 0o644), syscall.EISDIR, ""},
	} {
		if !errors.Is(tt.err, tt.want) || tt.text != "" && tt.err.Error() != tt.text {
			t.Errorf("error %v; want %v, %q", tt.err, tt.want, tt.text)
		}
	}
	path, ok := errors.AsType[*fs.PathError](f.Mkdir("f", 0o755))
	if !ok || path.Op != "mkdir" || path.Path != "f" {
		t.Errorf("%#v", path)
	}
}

// TestFSTakesWhatTheGuestSays: text of the guest's that stands for no error of the
// system is told, without the file's name twice.
func TestFSTakesWhatTheGuestSays(t *testing.T) {
	vm, _ := runningVM(t, func(conn net.Conn) {
		_, _ = agenttest.Request(agentproto.NewReader(conn, agentproto.Host))
		_ = agentproto.NewWriter(conn).Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: "remove /x: resource busy"})
	})
	if err := vm.FS().Remove("x"); err == nil || err.Error() != "remove x: resource busy" {
		t.Errorf("error %v", err)
	}
}

// TestFSOfAGuestThatDies: whoever waits for it is told so, and why.
func TestFSOfAGuestThatDies(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := func(conn net.Conn) {
		in := agentproto.NewReader(conn, agentproto.Host)
		_, _ = agenttest.Request(in)
		asked <- struct{}{}
		for {
			if _, err := in.Next(); err != nil {
				return
			}
		}
	}
	for name, use := range map[string]func(*VM) error{
		"stat": func(vm *VM) error { _, err := vm.FS().Stat("x"); return err },
		"list": func(vm *VM) error { _, err := vm.FS().ReadDir("x"); return err },
		"write": func(vm *VM) error {
			w, err := vm.FS().Create("x")
			if err != nil {
				return err
			}
			never, hold := io.Pipe()
			defer hold.Close()
			_, err = io.Copy(w, never)
			return err
		},
		"copy": func(vm *VM) error { return vm.CopyFrom(context.Background(), "/x", "/nowhere") },
		"tar": func(vm *VM) error {
			never, hold := io.Pipe()
			defer hold.Close()
			return vm.CopyTarTo(context.Background(), never, "/x")
		},
		"watch": func(vm *VM) error {
			for _, err := range vm.Watch(context.Background(), "/x", false) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			vm, fake := runningVM(t, silent)
			go func() {
				<-asked
				fake.Die(state.End{Error: "the guest's kernel panicked", Died: true, Console: "Oops\n"})
			}()
			err := use(vm)
			guest, ok := errors.AsType[*GuestError](err)
			if !ok || guest.Reason != "the guest's kernel panicked" || guest.Console != "Oops\n" {
				t.Errorf("error %v", err)
			}
			if err := vm.FS().Remove("x"); !errors.Is(err, ErrNotRunning) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestFSEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	vm, _ := runningVM(t, func(conn net.Conn) {
		in := agentproto.NewReader(conn, agentproto.Host)
		_, _ = agenttest.Request(in)
		close(asked)
		_, _ = in.Next()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough of it")
	go func() {
		<-asked
		cancel(why)
	}()
	if _, err := vm.FS().WithContext(ctx).ReadFile("x"); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

// TestReadDirIsBounded: a guest that lists without end does not fill the memory.
func TestReadDirIsBounded(t *testing.T) {
	vm, _ := runningVM(t, func(conn net.Conn) {
		_, _ = agenttest.Request(agentproto.NewReader(conn, agentproto.Host))
		out := agentproto.NewBatch(conn)
		link := agentproto.FileInfo{Mode: syscall.S_IFLNK, Nlink: 1, Target: agentproto.Name(strings.Repeat("x", agentproto.MaxPath))}
		for i := 0; ; i++ {
			link.Name = agentproto.Name(fmt.Sprint(i))
			if out.Report(link) != nil {
				return
			}
		}
	})
	d := vm.FS().dir("x", "/x", nil)
	d.most = 1 << 20
	list, err := d.ReadDir(-1)
	if err == nil || !strings.Contains(err.Error(), "1 MiB") || len(list) > 300 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if list, err = d.ReadDir(10); err != nil || len(list) != 10 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadDir(1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
