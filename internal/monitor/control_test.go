package monitor

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/control"
)

func TestControl(t *testing.T) {
	// Longer than a socket's address can be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	vm := &fakeVM{}
	stop := serveControl(listener, vm, slog.New(slog.DiscardHandler))
	client := control.NewClient(dir)
	if err := client.Do(t.Context(), control.PathPause); err != nil || vm.pauses.Load() != 1 {
		t.Errorf("pause: error %v, the VM saw %d", err, vm.pauses.Load())
	}
	if err := client.Do(t.Context(), control.PathPause); err == nil || err.Error() != "no second pause" {
		t.Errorf("a pause that fails: error %v", err)
	}
	if err := client.Do(t.Context(), control.PathResume); err != nil || vm.pauses.Load() != 0 {
		t.Errorf("resume: error %v, the VM saw %d", err, vm.pauses.Load())
	}
	if err := client.Do(t.Context(), "/nonsense"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an operation that does not exist: error %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Do(ended, control.PathResume); err == nil {
		t.Error("an ended context was not noticed")
	}
	stop()
	if err := client.Do(t.Context(), control.PathResume); err == nil {
		t.Error("a monitor that is gone answers")
	}
}
