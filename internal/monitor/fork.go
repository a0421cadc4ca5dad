package monitor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/tempfile"
)

// forkLayers is how many layers the memory of a VM that is forked again and again may
// get before it is written as one. Each costs a clone some mappings.
const forkLayers = 8

// serveFork saves the VM into files in memory, tells the client which they are, and
// keeps them open until it has gone. The client opens them through /proc.
func (i *instance) serveFork(w http.ResponseWriter, r *http.Request) {
	forked, files, err := i.fork(r.Context())
	defer CloseAll(files)
	if err != nil {
		refuse(w, err)
		return
	}
	conn, err := control.Accept(w)
	if err != nil {
		return
	}
	defer conn.Close()
	if json.NewEncoder(conn).Encode(forked) == nil {
		_, _ = io.Copy(io.Discard, conn) // until the client has gone
	}
}

// fork saves the VM into files in memory. Its own memory is mapped from them then, so
// that it has every page in common with its clones that nobody writes to. The files
// that are returned, in the order of OriginFiles.List, are for the caller to close,
// whatever the error is.
func (i *instance) fork(ctx context.Context) (forked control.Forked, files []*os.File, err error) {
	add := func(f *os.File, err error) error {
		if err == nil {
			files = append(files, f)
		}
		return err
	}
	forked.PID = os.Getpid()
	forked.Paused, err = i.capture(ctx, state.Fork, func(ctx context.Context, state []byte, mem *guestmem.Memory) (err error) {
		if err := add(tempfile.InMemory("state", state)); err != nil {
			return err
		}
		img, err := i.share(ctx, mem)
		if err != nil {
			return err
		}
		forked.Layers = len(img.Layers)
		for n, l := range img.Layers {
			// A descriptor of its own: that of the layer is another file's when the VM has
			// ended.
			if err := add(dup(l.File)); err != nil {
				return err
			}
			if n > 0 {
				if err := add(tempfile.InMemory("pages", guestmem.EncodeRuns(l.Runs))); err != nil {
					return err
				}
			}
		}
		forked.Disks, err = i.asm.saveDisks(ctx, func(string) (*os.File, error) { return tempfile.In(i.spec.Dir) },
			func(f *os.File) error { return add(f, nil) })
		return err
	})
	for _, f := range files {
		forked.Files = append(forked.Files, int(f.Fd()))
	}
	return forked, files, err
}

// share puts what changed of guest memory since the last time into a new file.
func (i *instance) share(ctx context.Context, mem *guestmem.Memory) (*guestmem.Image, error) {
	now := mem.Image()
	changes := now != nil && len(now.Layers) < forkLayers
	if changes {
		touched, err := mem.Touched()
		if err != nil || len(touched) == 0 {
			return now, err
		}
	}
	f, err := tempfile.InMemory("guest-memory", nil)
	if err != nil {
		return nil, err
	}
	img, _, err := layer(ctx, mem, f, changes)
	if err != nil {
		f.Close()
		return nil, err
	}
	return img, i.rebase(mem, img, "")
}
