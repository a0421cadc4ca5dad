package agent

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
)

// TestStdinBuffer passes random pieces through the ring and keeps the account
// of what is granted.
func TestStdinBuffer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := newStdinBuffer(true)
	if b.put([]byte("x")) == nil {
		t.Error("input is accepted before any was granted")
	}
	n, _ := b.grant()
	credit := int(n)
	var sent, got bytes.Buffer
	for i := range 2000 {
		piece := make([]byte, 1+rnd.IntN(agentproto.MaxPayload))
		piece[0] = byte(i)
		if len(piece) <= credit {
			if err := b.put(piece); err != nil {
				t.Fatal(err)
			}
			sent.Write(piece)
			credit -= len(piece)
		}
		if sent.Len() > got.Len() && rnd.IntN(3) > 0 {
			p := b.next()
			n := 1 + rnd.IntN(len(p))
			got.Write(p[:n])
			credit += int(b.took(n))
		}
		if credit+sent.Len()-got.Len() > agentproto.StdinWindow {
			t.Fatal("more is granted than fits")
		}
		if sent.Len() > 32<<20 {
			break
		}
	}
	b.end()
	for p := b.next(); p != nil; p = b.next() {
		got.Write(p)
		b.took(len(p))
	}
	if !bytes.Equal(sent.Bytes(), got.Bytes()) {
		t.Errorf("%d bytes in, %d out, or they differ", sent.Len(), got.Len())
	}
	b.end() // by whoever is connected then
	if b.put([]byte("x")) == nil {
		t.Error("input after the end is accepted")
	}
}

func TestStdinBufferStop(t *testing.T) {
	b := newStdinBuffer(true)
	b.grant()
	if err := b.put(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if b.next() != nil || b.took(10) != 0 {
		t.Error("there is input after stop")
	}
	if err := b.put(make([]byte, 1000)); err != nil {
		t.Errorf("input within the grant: %v", err)
	}
	if err := b.put(make([]byte, agentproto.StdinWindow)); err == nil {
		t.Error("input beyond the grant is accepted")
	}
	if n, open := b.grant(); n != 0 || open {
		t.Error("more is granted after stop")
	}
	if err := newStdinBuffer(false).put([]byte("x")); err == nil {
		t.Error("a closed buffer accepts input")
	}
}
