package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// awaitThaw waits until the guest could be frozen again.
func (g *guest) awaitThaw() {
	g.t.Helper()
	for g.a.freezing.Load() {
		if g.ctx.Err() != nil {
			g.t.Fatal("the guest stays frozen")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestFreeze: programs are held when the host has closed the connection, and once at a
// time.
func TestFreeze(t *testing.T) {
	g := newGuest(t)
	for range 2 {
		h := openHold(t, 2)
		g.a.newHold = func() (*hold, error) { return h.hold, nil }
		addr, err := agentclient.Freeze(g.ctx, g.dial())
		if err != nil || addr != h.addr {
			t.Fatalf("mailbox at %#x, %v; want %#x", addr, err, h.addr)
		}
		h.await(agentproto.MailboxFrozen)
		if _, err := agentclient.Freeze(g.ctx, g.dial()); kind(err) != agentproto.KindBusy {
			t.Errorf("second freeze: %v", err)
		}
		h.say(agentproto.MailboxGoOn)
		g.awaitThaw()
	}
	g.a.newHold = func() (*hold, error) { return nil, errors.New("no real-time priority") }
	if _, err := agentclient.Freeze(g.ctx, g.dial()); kind(err) != agentproto.KindInternal {
		t.Errorf("a guest that cannot: %v", err)
	}
}

// TestFreezeNeedsTheEnd: a host that goes on talking has not understood.
func TestFreezeNeedsTheEnd(t *testing.T) {
	g := newGuest(t)
	h := openHold(t, 2)
	g.a.newHold = func() (*hold, error) { return h.hold, nil }
	host, guest := connect(t)
	go g.a.operation(guest)
	w, r := agentproto.NewWriter(host), agentproto.NewReader(host, agentproto.Agent)
	if err := w.Request(agentproto.Request{Op: agentproto.OpFreeze}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []agentproto.Type{agentproto.TypeReport, agentproto.TypeOK} {
		if f, err := r.Next(); err != nil || f.Type != want {
			t.Fatalf("frame of type %d, %v; want %d", f.Type, err, want)
		}
	}
	if err := w.Frame(agentproto.TypeStdinEOF, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := r.Next(); err != nil || f.Type != agentproto.TypeError {
		t.Errorf("frame of type %d, %v", f.Type, err)
	}
	g.awaitThaw()
	if h.gate.state != gateShut {
		t.Error("programs were held")
	}
}

// TestFreezeReset: nothing is held for a host that was another machine's.
func TestFreezeReset(t *testing.T) {
	g := newGuest(t)
	h := openHold(t, 2)
	g.a.newHold = func() (*hold, error) { return h.hold, nil }
	host, guest := connect(t)
	served := make(chan struct{})
	go func() { g.a.operation(guest); close(served) }()
	r := agentproto.NewReader(host, agentproto.Agent)
	if err := agentproto.NewWriter(host).Request(agentproto.Request{Op: agentproto.OpFreeze}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	guest.reset(t)
	<-served
	if h.gate.state != gateShut {
		t.Error("programs were held")
	}
}
