package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// watching starts a watch and returns its events, without the first, and what ends it.
func watching(t *testing.T, top string, recursive bool) (<-chan agentproto.WatchEvent, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	events := make(chan agentproto.WatchEvent, 10_000)
	ended := make(chan error, 1)
	go func() {
		q := agentproto.FileRequest{Path: at(top), Recursive: recursive}
		ended <- agentclient.Watch(ctx, dial(t), q, func(e agentproto.WatchEvent) error { events <- e; return nil })
	}()
	select {
	case e := <-events:
		if e.Op != agentproto.WatchReady || string(e.Path) != top {
			t.Fatalf("the first event is %+v", e)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	return events, func() error { cancel(errStop); return <-ended }
}

var errStop = errors.New("stop")

// expect waits for events in this order; others may come between them.
func expect(t *testing.T, events <-chan agentproto.WatchEvent, top string, want ...string) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	var seen []string
	for len(want) > 0 {
		select {
		case e := <-events:
			is := string(e.Op) + " " + strings.TrimPrefix(string(e.Path), top)
			seen = append(seen, is)
			if is == want[0] {
				want = want[1:]
			}
		case <-timeout:
			t.Fatalf("no %q after %q", want[0], seen)
		}
	}
}

func TestWatch(t *testing.T) {
	top := t.TempDir()
	p := func(name string) string { return filepath.Join(top, name) }
	makeFile(t, p("old"), "")
	events, stop := watching(t, top, false)
	makeFile(t, p("new\n\xff"), "x")
	expect(t, events, top, "create /new\n\xff", "write /new\n\xff")
	if err := errors.Join(os.Chmod(p("old"), 0o600), os.Rename(p("old"), p("moved")), os.Remove(p("moved"))); err != nil {
		t.Fatal(err)
	}
	expect(t, events, top, "chmod /old", "rename /old", "create /moved", "remove /moved")
	if err := os.RemoveAll(top); err != nil {
		t.Fatal(err)
	}
	expect(t, events, top, "remove ")
	if err := stop(); !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
}

func TestWatchFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	makeFile(t, file, "")
	events, stop := watching(t, file, true)
	makeFile(t, file, "x")
	expect(t, events, file, "write ")
	if err := stop(); !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
}

// TestWatchTree: directories that appear, with what is in them, are watched too, and
// those that leave are not.
func TestWatchTree(t *testing.T) {
	dir := t.TempDir()
	top, away := filepath.Join(dir, "top"), filepath.Join(dir, "away")
	p := func(name string) string { return filepath.Join(top, name) }
	if err := os.MkdirAll(p("a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.Symlink("top", link), os.Symlink("..", p("up"))); err != nil {
		t.Fatal(err)
	}
	events, stop := watching(t, link, true) // a link at the top is followed
	makeFile(t, p("a/b/c"), "")
	expect(t, events, link, "create /a/b/c")
	if err := os.MkdirAll(p("new/er/est"), 0o755); err != nil {
		t.Fatal(err)
	}
	makeFile(t, p("new/er/est/file"), "x")
	expect(t, events, link, "create /new", "create /new/er", "create /new/er/est", "create /new/er/est/file")
	if err := os.Rename(p("new"), away); err != nil {
		t.Fatal(err)
	}
	expect(t, events, link, "rename /new")
	makeFile(t, filepath.Join(away, "er/unseen"), "")
	if err := os.Rename(away, p("back")); err != nil {
		t.Fatal(err)
	}
	expect(t, events, link, "create /back", "create /back/er", "create /back/er/unseen")
	makeFile(t, p("back/er/est/seen"), "")
	expect(t, events, link, "create /back/er/est/seen")
	if err := stop(); !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
	for e := range drained(events) {
		if strings.HasPrefix(string(e.Path), dir+"/away") || strings.Contains(string(e.Path), "/up/") {
			t.Errorf("event %+v", e)
		}
	}
}

// drained are the events that are left.
func drained(events <-chan agentproto.WatchEvent) map[agentproto.WatchEvent]bool {
	left := map[agentproto.WatchEvent]bool{}
	for {
		select {
		case e := <-events:
			left[e] = true
		default:
			return left
		}
	}
}

func TestWatchRefusals(t *testing.T) {
	none := func(agentproto.WatchEvent) error { return nil }
	q := agentproto.FileRequest{Path: at(t.TempDir(), "none")}
	if err := agentclient.Watch(t.Context(), dial(t), q, none); kindOf(err) != "not_found" {
		t.Errorf("missing: %v", err)
	}
}

// TestWatchOverflow: an overflow is told, and takes in directories whose events are lost.
func TestWatchOverflow(t *testing.T) {
	top := t.TempDir()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var b strings.Builder
	w := &watcher{fd: fd, top: top, deep: true, out: agentproto.NewBatch(&b), paths: map[int]string{}}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(top, "lost"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.event(-1, unix.IN_Q_OVERFLOW, ""), w.out.Flush()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"overflow"`) || len(w.paths) != 2 {
		t.Errorf("%q, watches %v", b.String(), w.paths)
	}
}

// After lost events every directory is watched anew: that is nothing more to watch.
func TestWatchLimit(t *testing.T) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	w := &watcher{fd: fd, top: t.TempDir(), paths: map[int]string{}}
	if err := w.add(w.top, 0); err != nil {
		t.Fatal(err)
	}
	for i := len(w.paths); i < maxWatches; i++ {
		w.paths[-i] = "/other"
	}
	if err := w.add(w.top, 0); err != nil {
		t.Error(err)
	}
	if err := w.add(t.TempDir(), 0); kindOf(err) != "invalid" || !strings.Contains(err.Error(), "8192") {
		t.Errorf("too many: %v", err)
	}
}
