package aptpkg

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// maxOutput is how much of a command's output is kept, in bytes.
const maxOutput = 1 << 20

// run runs an apt command on the lists in use, in dir, and returns its output.
// The error ends with what the command complained about.
func (c *Client) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, append(c.options(), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	// apt passes a polite end on to its download helpers.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr limitedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%s %s: %w%s", tool, args[0], err, complaints(stderr.String()))
	}
	return stdout.Bytes(), nil
}

func (c *Client) options() []string {
	var o []string
	if c.lists != listsHost {
		o = append(o, "-o", "Dir::State::Lists="+c.listDir(), "-o", "Dir::Cache="+c.cacheDir())
	}
	if os.Geteuid() == 0 {
		// As root, apt would download as a user who cannot enter our cache.
		o = append(o, "-o", "APT::Sandbox::User=root")
	}
	return o
}

// complaints are the error lines in apt's output, or its last line.
func complaints(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	var out strings.Builder
	for _, line := range lines {
		if msg, ok := strings.CutPrefix(line, "E: "); ok {
			out.WriteString(": " + msg)
		}
	}
	if out.Len() == 0 && lines[0] != "" {
		return ": " + lines[len(lines)-1]
	}
	return out.String()
}

// limitedBuffer keeps the first maxOutput bytes written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
