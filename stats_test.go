package holt

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

// TestStatsOfTheWire: Stats takes all that a monitor says, and nothing else.
func TestStatsOfTheWire(t *testing.T) {
	var wire control.Stats
	fill(reflect.ValueOf(&wire).Elem())
	sent, err := json.Marshal(wire)
	if err != nil {
		t.Fatal(err)
	}
	var s Stats
	d := json.NewDecoder(bytes.NewReader(sent))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(s); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("error %v; of\n%s\nthere is\n%s", err, sent, got)
	}
}

// monitored is a VM whose monitor answers so when it is asked for its figures; with nil
// it has none.
func monitored(t *testing.T, id string, answer http.HandlerFunc) *VM {
	t.Helper()
	dir := t.TempDir()
	if answer != nil {
		l, err := control.Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(answer)
		server.Listener.Close()
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
	}
	if answer != nil {
		inCharge := &state.Dir{Path: dir}
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(inCharge.TryLock(), inCharge.SetStatus(state.Status{State: state.Running})); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(inCharge.Unlock)
	}
	return &VM{dir: &state.Dir{Path: dir, Record: state.Record{ID: id}}}
}

func TestStatsAndMetrics(t *testing.T) {
	running := monitored(t, "0123456789ab", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != control.PathStats {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(control.Stats{ID: "0123456789ab", Name: "web", State: "running", Guest: &control.Guest{Processes: 7}})
	})
	stopped := monitored(t, "ba9876543210", nil)
	broken := monitored(t, "000000000000", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})

	if s, err := running.Stats(t.Context()); err != nil || s.Name != "web" || s.State != StateRunning || s.Guest == nil || s.Guest.Processes != 7 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := stopped.Stats(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("of a VM without a monitor: %v, want %v", err, ErrNotRunning)
	}
	var out bytes.Buffer
	if err := WriteMetrics(t.Context(), &out, running, stopped); err != nil {
		t.Error(err)
	}
	err := WriteMetrics(t.Context(), &out, broken, running)
	if err == nil || err.Error() != "VM 000000000000: out of order" {
		t.Errorf("error %v, want the monitor's", err)
	}
	if n := strings.Count(out.String(), `holt_vm_guest_processes{vm="web",id="0123456789ab"} 7`+"\n"); n != 2 {
		t.Errorf("written %d times, want 2, in\n%s", n, &out)
	}
}

// fill sets whatever can be set to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]uint64{"kind": 1}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	}
}
