package holt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Option changes how a VM is run; what is run is the Config's matter.
type Option func(*options)

type options struct {
	backend   string
	binary    string
	inProcess bool
}

// WithBackend chooses the hypervisor: "auto" (the default), "kvm" or "qemu".
func WithBackend(name string) Option { return func(o *options) { o.backend = name } }

// WithBinary runs the VM through the holt binary at path, in place of the one
// that HOLT_BIN names or that is found beside the program or in PATH.
func WithBinary(path string) Option { return func(o *options) { o.binary = path } }

// InProcess runs the VM's monitor inside this process, without a holt binary.
// A guest that finds a fault in the monitor then finds it in this process.
// The guest agent must be embedded or named by HOLT_AGENT.
func InProcess() Option { return func(o *options) { o.inProcess = true } }

// findHolt looks for the holt binary: HOLT_BIN, beside this program, PATH.
func findHolt() (string, error) {
	if path := os.Getenv("HOLT_BIN"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("%w: HOLT_BIN: %w", ErrHoltNotFound, err)
		}
		return path, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "holt")
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("holt")
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("%w: set HOLT_BIN, put holt beside this program or in PATH (`make install` in Holt's source does), "+
			"or use holt.InProcess()", ErrHoltNotFound)
	}
	return path, err
}
