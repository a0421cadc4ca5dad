package agent

import (
	"bytes"
	"slices"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// backlogSize is the most memory that a backlog takes, in bytes.
	backlogSize = 64 << 10
	// backlogJoin is up to which size small pieces are joined, and large ones are cut:
	// output is dropped by the piece.
	backlogJoin = 16 << 10
	// pieceOverhead is what a piece costs besides its bytes.
	pieceOverhead = 64
)

// backlog is the last output of a program to which nobody is connected, in order.
// Older output is dropped.
type backlog struct {
	pieces []piece
	size   int
}

// piece is output of one stream: the payload of a frame.
type piece struct {
	stream agentproto.Type
	data   []byte
}

func (p piece) cost() int { return cap(p.data) + pieceOverhead }

func (b *backlog) add(stream agentproto.Type, data []byte) {
	for part := range slices.Chunk(data, backlogJoin) {
		b.addPiece(stream, part)
	}
}

func (b *backlog) addPiece(stream agentproto.Type, data []byte) {
	last := len(b.pieces) - 1
	if last >= 0 && b.pieces[last].stream == stream && len(b.pieces[last].data)+len(data) <= backlogJoin {
		p := &b.pieces[last]
		b.size -= p.cost()
		p.data = append(p.data, data...)
		b.size += p.cost()
	} else {
		p := piece{stream, bytes.Clone(data)}
		b.pieces = append(b.pieces, p)
		b.size += p.cost()
	}
	for b.size > backlogSize {
		b.size -= b.pieces[0].cost()
		b.pieces[0] = piece{} // the memory goes now, the place when there is no more room behind it
		b.pieces = b.pieces[1:]
	}
}
