package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

// maxGrace bounds the time that a stop may leave to programs.
const maxGrace = time.Duration(agentproto.MaxGraceMS) * time.Millisecond

// serveControl answers on the control socket. The function that it returns ends
// that; those who wait for the VM's end have their answer by then.
func serveControl(l net.Listener, i *instance, log *slog.Logger) (stop func()) {
	mux := http.NewServeMux()
	post := func(path string, f func(r *http.Request) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(r); err != nil {
				refuse(w, err)
				return
			}
			_, _ = io.WriteString(w, i.status.Run) // which never changes; the client may be gone
		})
	}
	post(control.PathPause, func(r *http.Request) error { return i.pause(r.Context()) })
	post(control.PathResume, func(r *http.Request) error { return i.resume(r.Context()) })
	post(control.PathKill, func(*http.Request) error {
		err := i.check(state.Kill)
		if err == nil {
			i.kill(errKilled)
		}
		return err
	})
	post(control.PathStop, func(r *http.Request) error {
		ms, err := number(r, control.ParamGrace, int(maxGrace.Milliseconds()))
		if err != nil {
			return err
		}
		return i.stop(time.Duration(ms) * time.Millisecond)
	})
	post(control.PathSignal, func(r *http.Request) error {
		n, err := number(r, control.ParamSignal, agentproto.MaxSignal)
		if err != nil {
			return err
		}
		return i.signal(n)
	})
	mux.HandleFunc("POST "+control.PathSnapshot, i.serveSnapshot)
	mux.HandleFunc("POST "+control.PathFork, i.serveFork)
	mux.HandleFunc("GET "+control.PathBase, i.serveBase)
	mux.HandleFunc("GET "+control.PathWorkingSet, i.serveWorkingSet)
	mux.HandleFunc("POST "+control.PathAgent, i.serveAgent)
	mux.HandleFunc("POST "+control.PathAttach, i.serveAttach)
	mux.HandleFunc("GET "+control.PathWait, i.serveWait)
	mux.HandleFunc("GET "+control.PathStats, i.serveStats)
	mux.HandleFunc("GET "+control.PathMetrics, i.serveMetrics)
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
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // who does not read his answer has none
		_ = server.Close()
		<-done
	}
}

// refuse answers why something is not done.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if illegal, ok := errors.AsType[*state.Error](err); ok {
		status = http.StatusConflict
		w.Header().Set(control.HeaderState, string(illegal.State))
	}
	http.Error(w, err.Error(), status)
}

// number is a parameter of a request, 0 to most.
func number(r *http.Request, name string, most int) (int, error) {
	text := r.URL.Query().Get(name)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s: %.20q is not 0 to %d", name, text, most)
	}
	return n, nil
}

// serveWait answers when the VM has ended, with how.
func (i *instance) serveWait(w http.ResponseWriter, r *http.Request) {
	select {
	case <-i.ended:
		i.mu.Lock()
		end := *i.status.End
		i.mu.Unlock()
		answer(w, end)
	case <-r.Context().Done():
	}
}

func answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client is gone
}
