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
)

// forkLayers is how many layers the memory of a VM that is forked again and again may
// get before it is written as one. Each costs a clone some mappings.
const forkLayers = 8

// serveFork saves the VM into files in memory, tells the client which they are, and
// keeps them open until it has gone. The client opens them through /proc.
func (i *instance) serveFork(w http.ResponseWriter, r *http.Request) {
	if err := i.check(state.Fork); err != nil {
		refuse(w, err)
		return
	}
	forked, files, err := i.fork(r.Context())
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		refuse(w, err)
		return
	}
	conn, err := upgrade(w)
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
// that are returned are for the caller to close, whatever the error is.
func (i *instance) fork(ctx context.Context) (forked control.Forked, files []*os.File, err error) {
	keep := func(name string, b []byte) (int, error) {
		f, err := memfd(name)
		if err != nil {
			return -1, err
		}
		files = append(files, f)
		_, err = f.Write(b)
		return int(f.Fd()), err
	}
	forked.PID = os.Getpid()
	forked.Paused, err = i.capture(ctx, state.Fork, func(ctx context.Context, state []byte, mem *guestmem.Memory) (err error) {
		if forked.State, err = keep("state", state); err != nil {
			return err
		}
		img, err := i.share(ctx, mem)
		if err != nil {
			return err
		}
		for n, l := range img.Layers {
			// A number of its own: that of the layer's file is another file's when the VM
			// has ended.
			f, err := dup(l.File)
			if err != nil {
				return err
			}
			files = append(files, f)
			m := control.MemoryFile{Memory: int(f.Fd()), Pages: -1}
			if n > 0 {
				if m.Pages, err = keep("pages", guestmem.EncodeRuns(l.Runs)); err != nil {
					return err
				}
			}
			forked.Memory = append(forked.Memory, m)
		}
		forked.Disks, err = i.asm.saveDisks(ctx, func(string) (*os.File, error) { return unnamed(i.spec.Dir) }, func(f *os.File) error {
			files = append(files, f)
			forked.DiskFiles = append(forked.DiskFiles, int(f.Fd()))
			return nil
		})
		return err
	})
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
	f, err := memfd("guest-memory")
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
