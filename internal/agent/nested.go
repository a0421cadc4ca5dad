package agent

import (
	"errors"
	"fmt"
	"strings"

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
