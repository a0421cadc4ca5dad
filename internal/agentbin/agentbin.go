// Package agentbin holds the guest agent's binary, which the build puts into
// bin/ before it compiles holt.
//
// A program that imports Holt as a library is built without that step; then
// there is nothing here and [Load] looks for the agent elsewhere.
package agentbin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

//go:embed bin
var files embed.FS

// ErrMissing says that there is no agent to put into a guest.
var ErrMissing = errors.New("this program was built without Holt's guest agent")

// Load returns the agent: the file that HOLT_AGENT names, or else the embedded
// one. The error wraps ErrMissing and says how to get one.
func Load() ([]byte, error) {
	if path := os.Getenv("HOLT_AGENT"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the guest agent that HOLT_AGENT names: %w", err)
		}
		return b, nil
	}
	b, err := files.ReadFile("bin/holt-agent")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: build it with `CGO_ENABLED=0 go build -ldflags '-s -w' -o holt-agent github.com/holtvm/holt/cmd/holt-agent` "+
			"and set HOLT_AGENT to its path, or run VMs through an installed holt binary", ErrMissing)
	}
	return b, err
}
