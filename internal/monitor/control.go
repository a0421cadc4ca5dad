package monitor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/hypervisor"
)

// serveControl answers on the control socket while the VM lives. The function that
// it returns ends that, operations under way included.
func serveControl(l net.Listener, vm hypervisor.VM, log *slog.Logger) (stop func()) {
	mux := http.NewServeMux()
	for path, operation := range map[string]func(context.Context) error{
		control.PathPause:  vm.Pause,
		control.PathResume: vm.Resume,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := operation(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("the control socket does not answer any more", "error", err)
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}
}
