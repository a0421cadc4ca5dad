package agent

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
)

// TestBacklog: whatever the pieces, the end of each stream is there, in order, and the
// memory is bounded.
func TestBacklog(t *testing.T) {
	for _, most := range []int{1, 100, outputChunk} {
		rnd := rand.New(rand.NewPCG(1, uint64(most)))
		var b backlog
		var all []byte // each byte with its stream
		for range min(4<<20/most, 200_000) {
			stream := agentproto.TypeStdout + agentproto.Type(rnd.IntN(2))
			data := bytes.Repeat([]byte{byte(rnd.Int())}, 1+rnd.IntN(most))
			b.add(stream, data)
			for _, c := range data {
				all = append(all, byte(stream), c)
			}
		}
		var kept []byte
		memory := 0
		for _, p := range b.pieces {
			if len(p.data) > agentproto.MaxPayload {
				t.Fatalf("a piece of %d bytes", len(p.data))
			}
			for _, c := range p.data {
				kept = append(kept, byte(p.stream), c)
			}
			memory += p.cost()
		}
		if memory != b.size || memory > backlogSize {
			t.Errorf("pieces of up to %d: %d bytes of memory, counted %d", most, memory, b.size)
		}
		if !bytes.HasSuffix(all, kept) {
			t.Errorf("pieces of up to %d: what is kept is not the end", most)
		}
	}
}

// However large the last output is, most of what there is room for is kept of it.
func TestBacklogKeepsTheEndOfLargeOutput(t *testing.T) {
	for _, size := range []int{firstChunk, outputChunk - 1, outputChunk, 3 * outputChunk} {
		var b backlog
		data := make([]byte, size)
		data[size-1] = 'z'
		b.add(agentproto.TypeStdout, data)
		var kept []byte
		for _, p := range b.pieces {
			kept = append(kept, p.data...)
		}
		if len(kept) < min(size, backlogSize/2) || b.size > backlogSize || kept[len(kept)-1] != 'z' {
			t.Errorf("%d bytes of %d were kept, at a cost of %d", len(kept), size, b.size)
		}
	}
}
