package agentclient

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// FileReader reads a file of the guest as it arrives.
type FileReader struct {
	// Info is what the file was when it was opened, without its name.
	Info agentproto.FileInfo

	ctx   context.Context // its end closes the connection
	stop  func() bool     // that from happening
	peer  *peer
	data  *agentproto.DataReader
	close sync.Once
}

// ReadFile opens the file name for reading from offset, in bytes, at most length bytes
// or, if length is negative, all that there is. A device has to be read with a length.
// ctx is for the reader's whole life. ReadFile closes conn when it fails, and the
// reader's Close does.
func ReadFile(ctx context.Context, conn net.Conn, name string, offset, length int64) (*FileReader, error) {
	q := agentproto.FileRequest{Op: agentproto.FileRead, Path: agentproto.Name(name), Offset: offset, Length: length}
	p := newFilePeer(conn)
	r := &FileReader{ctx: ctx, peer: p, data: p.in.Data()}
	err := p.during(ctx, func() error {
		err := p.request(q)
		if err == nil {
			r.Info, err = p.fileInfo()
		}
		return err
	})
	if err != nil {
		_ = conn.Close()
		return nil, fileOpError(q, err)
	}
	r.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return r, nil
}

// Read implements io.Reader.
func (r *FileReader) Read(b []byte) (int, error) {
	n, err := r.data.Read(b)
	return n, r.explain(err)
}

// WriteTo implements io.WriterTo.
func (r *FileReader) WriteTo(w io.Writer) (int64, error) {
	n, err := r.data.WriteTo(w)
	return n, r.explain(err)
}

// explain returns the cause of ctx for an error that its end has made.
func (r *FileReader) explain(err error) error {
	if errors.Is(err, ErrLost) && r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// Close ends the reading, also before the end of the file.
func (r *FileReader) Close() error {
	var err error
	r.close.Do(func() {
		if r.stop() {
			err = r.peer.conn.Close()
		}
	})
	return err
}

// WriteFile sends what r gives as the content of the file q.Path, from q.Offset, with
// the flags of q, and returns how many bytes it sent. When it returns no error the guest
// has all of them; after one the file may have some. An existing file is written in
// place. If the agent refuses or ctx ends, WriteFile returns although a Read of r may
// not have; nothing is read after that one. WriteFile closes conn.
func WriteFile(ctx context.Context, conn net.Conn, q agentproto.FileRequest, r io.Reader) (int64, error) {
	q.Op = agentproto.FileWrite
	var sent atomic.Int64
	_, err := upload(ctx, conn, q, func(p *peer) error {
		buf := make([]byte, agentproto.MaxPayload-agentproto.HeaderSize)
		for {
			n, err := r.Read(buf)
			if n > 0 {
				if err := p.out.Frame(agentproto.TypeData, buf[:n]); err != nil {
					return err
				}
				sent.Add(int64(n))
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return sent.Load(), err
}

// Push sends the tree of from, whose top becomes q.Path. It does not close from, and
// closes conn.
func Push(ctx context.Context, conn net.Conn, q agentproto.FileRequest, from filetree.Source) error {
	q.Op = agentproto.FilePush
	done, err := upload(ctx, conn, q, func(p *peer) error {
		out := agentproto.NewBatch(lossyConn{p.conn})
		if err := out.Tree(from.Next); err != nil {
			return err
		}
		return out.Flush()
	})
	<-done // from is the caller's again
	return err
}

// Pull puts the tree at q.Path into to, and closes it when the whole tree is in it. After
// an error to is left open. What the guest sends is checked entry by entry, and to has to
// stand any sequence of valid entries. Pull closes conn.
func Pull(ctx context.Context, conn net.Conn, q agentproto.FileRequest, to filetree.Sink) error {
	q.Op = agentproto.FilePull
	return ask(ctx, conn, q, func(p *peer) error { return filetree.Copy(to, p.in.Tree()) })
}

// upload sends q, what body sends and TypeEnd, and waits for the answer, which ends the
// sending when it is an error. body may still run then; done is closed when it has
// returned.
func upload(ctx context.Context, conn net.Conn, q agentproto.FileRequest, body func(*peer) error) (done <-chan struct{}, err error) {
	u := sending{done: make(chan struct{}), failure: make(chan error, 1)}
	begun := false
	err = ask(ctx, conn, q, func(p *peer) error {
		begun = true
		go u.run(p, body)
		err := p.finish()
		switch {
		case err == nil && !u.whole.Load():
			err = &agentproto.ViolationError{What: "an ok before the end of the data"}
		case errors.Is(err, ErrLost):
			select {
			case err = <-u.failure: // why the connection ended
			default:
			}
		}
		return err
	})
	if !begun {
		close(u.done)
	}
	return u.done, err
}

// sending is what sends while the answer is awaited.
type sending struct {
	whole   atomic.Bool // all but TypeEnd has been sent
	failure chan error  // why that is not so
	done    chan struct{}
}

// run sends what body sends, and TypeEnd. When that fails it ends the connection.
func (u *sending) run(p *peer, body func(*peer) error) {
	defer close(u.done)
	err := body(p)
	if err == nil {
		u.whole.Store(true)
		err = p.out.Frame(agentproto.TypeEnd, nil)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrLost):
		// The agent may have said why, and then that has arrived.
		u.failure <- err
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Second))
	default:
		u.failure <- err
		_ = p.conn.Close()
	}
}
