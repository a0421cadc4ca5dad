package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// maxWatches is how many directories one operation watches.
	maxWatches = 8192
	// watched is what inotify is asked for.
	watched = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_ATTRIB |
		unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// watcher turns the events of inotify(7) into those of the protocol.
type watcher struct {
	notify *os.File // fd
	fd     int
	out    *agentproto.Batch
	top    string
	deep   bool
	device uint64         // that of top: other file systems are not entered
	paths  map[int]string // of each watch
}

// watchFiles reports changes until the host closes the connection.
func watchFiles(ch *channel, q agentproto.FileRequest) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fileError(fmt.Errorf("make an inotify instance: %w (fs.inotify.max_user_instances says how many there may be)", err))
	}
	w := &watcher{
		notify: os.NewFile(uintptr(fd), "inotify"), fd: fd, out: agentproto.NewBatch(ch.conn),
		top: string(q.Path), deep: q.Recursive, paths: map[int]string{},
	}
	defer w.notify.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = ch.in.Next() // the host says nothing more
		_ = w.notify.SetReadDeadline(time.Now())
	}()
	if err := w.run(); !errors.Is(err, os.ErrDeadlineExceeded) {
		ch.fail(fileError(err))
		t := time.AfterFunc(lingerTimeout, func() { _ = ch.conn.Close() })
		defer t.Stop()
	}
	<-gone
	return nil
}

// run ends with an error, os.ErrDeadlineExceeded when the host has gone.
func (w *watcher) run() error {
	if err := w.begin(); err != nil {
		return err
	}
	// One event with the longest name fits, and the kernel gives whole ones.
	buf := make([]byte, 16<<10)
	for {
		if err := w.out.Flush(); err != nil {
			return err
		}
		n, err := w.notify.Read(buf)
		if err != nil {
			return err
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			order := binary.NativeEndian
			size := unix.SizeofInotifyEvent + int(order.Uint32(b[12:]))
			name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:size])
			if err := w.event(int(int32(order.Uint32(b))), order.Uint32(b[4:]), name); err != nil {
				return err
			}
			b = b[size:]
		}
	}
}

// begin watches the top, and what is below it if that is wanted.
func (w *watcher) begin() error {
	var st unix.Stat_t
	if err := unix.Stat(w.top, &st); err != nil {
		return &os.PathError{Op: "watch", Path: w.top, Err: err}
	}
	w.device = st.Dev
	if err := w.add(w.top, 0); err != nil {
		return err
	}
	if w.deep {
		if err := w.enter(w.top, false); err != nil {
			return err
		}
	}
	return w.report(w.top, agentproto.WatchReady)
}

func (w *watcher) report(p string, op agentproto.WatchOp) error {
	if len(p) > agentproto.MaxPath {
		return nil // it has no name that could be used
	}
	return w.out.Report(agentproto.WatchEvent{Path: agentproto.Name(p), Op: op})
}

// add watches p itself and, if it is a directory, the names in it.
func (w *watcher) add(p string, flags uint32) error {
	wd, err := unix.InotifyAddWatch(w.fd, p, watched|flags)
	if err != nil {
		return &os.PathError{Op: "watch", Path: p, Err: err}
	}
	if _, known := w.paths[wd]; !known && len(w.paths) >= maxWatches { // it may be watched already
		return refuse(agentproto.KindInvalid, "watch %s: more than %d directories are below it: watch fewer", w.top, maxWatches)
	}
	w.paths[wd] = p
	return nil
}

// enter watches the directories below dir, and reports what is there if that is new.
// Links are not followed. What vanishes meanwhile is left out.
func (w *watcher) enter(dir string, isNew bool) error {
	for queue := []string{dir}; len(queue) > 0; queue = queue[1:] {
		err := eachEntry(queue[0], func(_ int, d os.DirEntry) error {
			p := path.Join(queue[0], d.Name())
			if isNew {
				if err := w.report(p, agentproto.WatchCreate); err != nil {
					return err
				}
			}
			if !d.IsDir() {
				return nil
			}
			err := w.addBelow(p)
			switch {
			case err == nil:
				queue = append(queue, p)
			case errors.Is(err, errNotWatched):
				err = nil
			}
			return err
		})
		if err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}

// isGone reports whether err says that a directory is not there any more.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// errNotWatched says that a directory is gone, or on another file system, or deeper
// than a path leads.
var errNotWatched = errors.New("not watched")

// addBelow watches a directory below the top.
func (w *watcher) addBelow(p string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil || st.Dev != w.device {
		return errNotWatched
	}
	err := w.add(p, unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW)
	if isGone(err) || errors.Is(err, unix.ENAMETOOLONG) {
		return errNotWatched
	}
	return err
}

// event reports one event. name is empty when it is about what is watched itself.
func (w *watcher) event(wd int, mask uint32, name string) error {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		if w.deep { // there may be new directories among what was lost
			if err := w.enter(w.top, false); err != nil {
				return err
			}
		}
		return w.report(w.top, agentproto.WatchOverflow)
	}
	at, ok := w.paths[wd]
	if !ok {
		return nil // of a directory that has left
	}
	if mask&unix.IN_IGNORED != 0 {
		delete(w.paths, wd)
		return nil
	}
	if name == "" && at != w.top {
		return nil // the directory that it is in says the same
	}
	p := at
	if name != "" {
		p = path.Join(at, name)
	}
	for _, k := range watchOps {
		if mask&k.mask == 0 {
			continue
		}
		if err := w.report(p, k.op); err != nil {
			return err
		}
	}
	if !w.deep || name == "" || mask&unix.IN_ISDIR == 0 {
		return nil
	}
	switch {
	case mask&unix.IN_MOVED_FROM != 0:
		w.leave(p)
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		err := w.addBelow(p)
		if err == nil {
			err = w.enter(p, true) // what came into it before it was watched
		}
		if err != nil && !errors.Is(err, errNotWatched) {
			return err
		}
	}
	return nil
}

// watchOps are what the bits of an event's mask mean.
var watchOps = []struct {
	mask uint32
	op   agentproto.WatchOp
}{
	{unix.IN_CREATE | unix.IN_MOVED_TO, agentproto.WatchCreate},
	{unix.IN_MODIFY, agentproto.WatchWrite},
	{unix.IN_ATTRIB, agentproto.WatchChmod},
	{unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_UNMOUNT, agentproto.WatchRemove},
	{unix.IN_MOVED_FROM | unix.IN_MOVE_SELF, agentproto.WatchRename},
}

// leave ends the watches of a directory that was moved away, and of those below it.
func (w *watcher) leave(dir string) {
	for wd, p := range w.paths {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			delete(w.paths, wd)
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it may be gone
		}
	}
}
