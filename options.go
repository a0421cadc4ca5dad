package holt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/holtvm/holt/internal/agentproto"
)

// Option changes how a VM is run; what is run is the Config's matter.
type Option func(*options)

type options struct {
	backend    string
	binary     string
	inProcess  bool
	name       string
	autoRemove bool
	stdin      bool
	terminal   *WindowSize
	root       string

	// Of VMs that go on from saved ones.
	keep, prefetch bool
	dirs           []PathPair
	disks          map[string]Disk
	ports          *[]PortPair
	imported       bool // see launch

	warm bool
	hold bool // get the guest ready and run no program
}

// launch is what is recorded of how a VM is run.
type launch struct {
	Backend  string                 `json:"backend"`
	Stdin    bool                   `json:"stdin,omitempty"`
	Terminal *agentproto.WindowSize `json:"terminal,omitempty"`
	// Imported says that the VM went on from an archive, whose maker chose files of the
	// host that its configuration names.
	Imported bool `json:"imported,omitempty"`
}

func (o options) record(stdin bool, terminal *WindowSize) launch {
	how := launch{Backend: o.backend, Stdin: stdin, Imported: o.imported}
	if terminal != nil {
		how.Terminal = &agentproto.WindowSize{Rows: terminal.Rows, Cols: terminal.Cols}
	}
	return how
}

// WithName gives the VM a name: 1 to 63 letters, digits, "_", "." or "-", the first of
// them a letter or digit, and no other VM's.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// AutoRemove removes a VM that [Create] makes as soon as it has ended.
func AutoRemove() Option { return func(o *options) { o.autoRemove = true } }

// WithStdin gives the program of a VM that [Create] makes a standard input that stays
// open, for [VM.Attach]. Without it that is /dev/null.
func WithStdin() Option { return func(o *options) { o.stdin = true } }

// WithTerminal gives the program of a VM that [Create] makes a terminal of this size.
func WithTerminal(size WindowSize) Option { return func(o *options) { o.terminal = &size } }

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
