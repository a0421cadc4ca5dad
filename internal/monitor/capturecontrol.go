package monitor

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/state"
)

// serveSnapshot writes a snapshot's files. When the client goes away meanwhile, the
// guest goes on at once.
func (i *instance) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dir := q.Get(control.ParamDir)
	if !filepath.IsAbs(dir) {
		refuse(w, fmt.Errorf("%s: %q is no absolute path", control.ParamDir, dir))
		return
	}
	c, err := i.snapshot(r.Context(), dir, q.Get(control.ParamID), q.Get(control.ParamParent), q.Get(control.ParamRebase) != "")
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, c)
}

func (i *instance) serveBase(w http.ResponseWriter, _ *http.Request) {
	i.operation.Lock()
	defer i.operation.Unlock()
	answer(w, control.Base{Snapshot: i.base})
}

// serveWorkingSet answers which pages of guest memory are in use, of a VM that can be
// saved.
func (i *instance) serveWorkingSet(w http.ResponseWriter, _ *http.Request) {
	i.operation.Lock()
	defer i.operation.Unlock()
	saver, err := i.saver(state.Snapshot)
	if err != nil {
		refuse(w, err)
		return
	}
	var pages []byte
	err = saver.Look(func(mem *guestmem.Memory) error {
		if mem.Image() == nil {
			return errors.New("the VM was not restored")
		}
		runs, err := mem.WorkingSet()
		pages = guestmem.EncodeRuns(runs)
		return err
	})
	if err != nil {
		refuse(w, err)
		return
	}
	_, _ = w.Write(pages) // the client is gone
}
