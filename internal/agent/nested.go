package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// loadKVM loads KVM for the CPU's vendor. The modules for both vendors are
// there, and each refuses the other's CPUs; what they make of this one shows in
// checkKVM, which knows about a built-in KVM too.
func loadKVM(dir string, modules []module) error {
	for _, m := range modules {
		if m.Group != groupKVM {
			continue
		}
		vendor := strings.HasPrefix(m.Name, "kvm_")
		err := loadModule(m.path(dir))
		switch {
		case err == nil && vendor:
			return nil
		case err == nil, vendor && refused(err):
		default:
			return moduleError(m, err)
		}
	}
	return nil
}

// awaitTSC waits until the kernel has measured the TSC's frequency for good, with
// sysfs mounted at dir meanwhile. KVM notes the frequency when it is loaded, for its
// guests. If that was the first, hasty measurement of a busy machine and the second
// one differs by more than KVM's tolerance of 250 ppm, a KVM without TSC scaling
// loses track of its guests' TSCs (Linux 6.1, kvm_set_tsc_khz): each timer of theirs
// then comes late, by as long as this guest is up.
func awaitTSC(dir string) error {
	err := withMount(dir, volume{"sysfs", "sysfs", nil, attrData}, func() error {
		settled(filepath.Join(dir, "devices/system/clocksource/clocksource0/current_clocksource"), 10*time.Second)
		return nil
	})
	if err != nil {
		return mountError(dir, err)
	}
	return nil
}

// settled waits until the clocksource that the file names is another than the one
// for the time between the TSC's two measurements, or until it has waited for most.
func settled(file string, most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if name, err := os.ReadFile(file); err != nil || string(name) != "tsc-early\n" {
			return
		}
	}
}

// refused says whether err is how a module says that it does not support this
// CPU (Linux, arch/x86/kvm: ENODEV by vendor, EOPNOTSUPP or EIO when the feature
// is off).
func refused(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EIO)
}

// checkKVM makes sure that path, /dev/kvm, can be opened.
func checkKVM(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return &agentproto.Error{
			Kind:    agentproto.KindModule,
			Message: "--nested: this VM's CPU has no SVM or VMX, or its kernel no KVM: there is no " + path,
		}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return unix.Close(fd)
}
