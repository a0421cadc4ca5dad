package monitor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/limits"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/tempfile"
)

// forkLayers is how many layers the memory of a VM that is forked again and again may
// get before it is written as one; or they list half as much as there is. Each costs a
// clone some mappings, and holds what later ones have again.
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

// layered is how many bytes all layers of an image list but the first, which has all pages.
func layered(img *guestmem.Image) (sum uint64) {
	for _, l := range img.Layers[1:] {
		sum += sizeOf(l.Runs)
	}
	return sum
}

func sizeOf(runs []guestmem.Run) (sum uint64) {
	for _, r := range runs {
		sum += uint64(r.Count) * guestmem.PageSize
	}
	return sum
}

// share puts what changed of guest memory since the last time into a new file.
func (i *instance) share(ctx context.Context, mem *guestmem.Memory) (*guestmem.Image, error) {
	now := mem.Image()
	touched, err := mem.Touched()
	if err != nil || now != nil && len(touched) == 0 {
		return now, err
	}
	all := mem.Size()
	changes := now != nil && len(now.Layers) < forkLayers && layered(now)+sizeOf(touched) <= all/2
	if i.spec.ControlGroup != "" {
		// The files of before count as this VM's memory as long as a clone has them. So
		// it may take what it has now, and what it may come to have beside that: all of
		// the guest's memory in the new file, and once more as its own.
		if err := limits.Allow(i.spec.ControlGroup, 2*all+hostMemory); err != nil {
			i.log.Debug("the VM's memory limit stays", "error", err)
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
