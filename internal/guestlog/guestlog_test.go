package guestlog

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		flood := func() (lines int) {
			before := strings.Count(out.String(), "\n")
			for range 1000 {
				log.With("a", 1).WithGroup("g").Debug("chatter")
			}
			return strings.Count(out.String(), "\n") - before
		}
		if n := flood(); n != Burst {
			t.Errorf("%d lines of a flood pass", n)
		}
		log.Warn("trouble") // is not silenced by the chatter
		if !strings.Contains(out.String(), "trouble") {
			t.Error("a warning was lost among the chatter")
		}
		if n := flood(); n != 0 {
			t.Errorf("%d further lines pass in the same second", n)
		}
		time.Sleep(time.Second)
		if n := flood(); n != Burst {
			t.Errorf("%d lines pass in the next second", n)
		}
		if !strings.Contains(out.String(), "suppressed=1990") {
			t.Errorf("what was suppressed is not counted:\n%s", &out)
		}
	})
}
