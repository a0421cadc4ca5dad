// Package agentbin holds the guest agent's binary, which the build puts into
// bin/ before it compiles holt.
//
// A program that imports Holt as a library is built without that step; then
// there is nothing here and [Find] looks for the agent elsewhere.
package agentbin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

//go:embed bin
var files embed.FS

// ErrMissing says that there is no agent to put into a guest.
var ErrMissing = errors.New("this program was built without Holt's guest agent")

// embedded is the agent's path in files.
const embedded = "bin/holt-agent"

// Agent is the guest agent's binary.
type Agent struct {
	file string // the file that it is; "" is the embedded one
	id   string
}

// Find returns the agent without reading it: the file that HOLT_AGENT names, or
// else the embedded one. The error wraps ErrMissing if there is none, and says how
// to get one.
func Find() (Agent, error) {
	if path := os.Getenv("HOLT_AGENT"); path != "" {
		id, err := identity(path)
		if err != nil {
			return Agent{}, fmt.Errorf("find the guest agent that HOLT_AGENT names: %w", err)
		}
		return Agent{file: path, id: id}, nil
	}
	if _, err := fs.Stat(files, embedded); errors.Is(err, fs.ErrNotExist) {
		return Agent{}, fmt.Errorf("%w: build it with `CGO_ENABLED=0 go build -ldflags '-s -w' -o holt-agent github.com/holtvm/holt/cmd/holt-agent` "+
			"and set HOLT_AGENT to its path, or run VMs through an installed holt binary", ErrMissing)
	}
	// This program does not change while it runs, even if its file is replaced.
	id, err := identity("/proc/self/exe")
	if err != nil {
		return Agent{}, fmt.Errorf("find the guest agent: %w", err)
	}
	return Agent{id: "in " + id}, nil
}

// identity tells a file and its state from any other by what make and git look
// at, and the time of the last change of any kind. Hashing the agent instead would
// be a third of a monitor's start.
func identity(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fmt.Sprintf("%d %d %d %d.%09d %d.%09d", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec), nil
}

// ID changes whenever the content does.
func (a Agent) ID() string { return a.id }

// Read returns the content.
func (a Agent) Read() ([]byte, error) {
	if a.file == "" {
		return files.ReadFile(embedded)
	}
	b, err := os.ReadFile(a.file)
	if err != nil {
		return nil, fmt.Errorf("read the guest agent that HOLT_AGENT names: %w", err)
	}
	return b, nil
}
