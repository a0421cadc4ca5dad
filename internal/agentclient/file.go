package agentclient

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
)

// Stat asks what name is in the guest; with follow, what a symbolic link leads to. An
// *agentproto.Error says why that cannot be told. Stat closes conn.
func Stat(ctx context.Context, conn net.Conn, name string, follow bool) (agentproto.FileInfo, error) {
	var info agentproto.FileInfo
	q := agentproto.FileRequest{Op: agentproto.FileStat, Path: agentproto.Name(name), Follow: follow}
	err := ask(ctx, conn, q, func(p *peer) error {
		var err error
		if info, err = p.fileInfo(); err != nil {
			return err
		}
		info.Name = agentproto.Name(path.Base(name))
		return p.finish()
	})
	return info, err
}

// ReadDir calls each with what is in the directory name, in no order, as it comes. An
// error of each ends it, and is returned. ReadDir closes conn.
func ReadDir(ctx context.Context, conn net.Conn, name string, each func(agentproto.FileInfo) error) error {
	q := agentproto.FileRequest{Op: agentproto.FileList, Path: agentproto.Name(name)}
	return ask(ctx, conn, q, func(p *peer) error {
		return p.reports(func(f agentproto.Frame) error {
			info, err := agentproto.DecodeFileInfo(f.Payload)
			switch {
			case err != nil:
				return err
			case info.Name == "":
				return &agentproto.ViolationError{What: "an entry of a directory without a name"}
			}
			return each(info)
		})
	})
}

// ReadLink returns what the symbolic link name holds. It closes conn.
func ReadLink(ctx context.Context, conn net.Conn, name string) (string, error) {
	info, err := Stat(ctx, conn, name, false)
	if err == nil && info.Target == "" {
		err = fmt.Errorf("read link in guest: %w", &agentproto.Error{
			Kind:    agentproto.KindInvalid,
			Message: agentproto.Printable(name, agentproto.MaxPath) + " is not a symbolic link",
		})
	}
	return string(info.Target), err
}

// FileOp does what has no other answer than that it is done: mkdir, rename, remove,
// chmod, chown, chtimes or symlink. It closes conn.
func FileOp(ctx context.Context, conn net.Conn, q agentproto.FileRequest) error {
	return ask(ctx, conn, q, (*peer).finish)
}

// Watch calls each with what happens to the file or directory q.Path and, if
// q.Recursive, to what is in the directories below it: on its file system, and up to
// 8,192 of them. The first event is agentproto.WatchReady. Watch returns when ctx ends,
// with its cause, or when each returns an error, with that. It closes conn.
func Watch(ctx context.Context, conn net.Conn, q agentproto.FileRequest, each func(agentproto.WatchEvent) error) error {
	q.Op = agentproto.FileWatch
	return ask(ctx, conn, q, func(p *peer) error {
		top := path.Clean(string(q.Path))
		err := p.reports(func(f agentproto.Frame) error {
			e, err := agentproto.DecodeWatchEvent(f.Payload)
			if err != nil {
				return err
			}
			if at := string(e.Path); at != top && !strings.HasPrefix(at, strings.TrimSuffix(top, "/")+"/") {
				return &agentproto.ViolationError{What: fmt.Sprintf("event of %.80q, which is not below %.80q", at, top)}
			}
			return each(e)
		})
		if err == nil {
			err = &agentproto.ViolationError{What: "a watch that ends"}
		}
		return err
	})
}

// ask sends q, and has f read the answer until ctx ends. It closes conn.
func ask(ctx context.Context, conn net.Conn, q agentproto.FileRequest, f func(*peer) error) error {
	defer conn.Close()
	p := newFilePeer(conn)
	err := p.during(ctx, func() error {
		if err := p.request(q); err != nil {
			return err
		}
		return f(p)
	})
	return fileOpError(q, err)
}

// fileOpError says at which operation err happened.
func fileOpError(q agentproto.FileRequest, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s in guest: %w", q.Op, err)
}

// newFilePeer returns a peer for an operation on files. Its agent may take its time,
// since it waits for a disk, and is ended by a context alone.
func newFilePeer(conn net.Conn) *peer {
	c := lossyConn{conn}
	return &peer{conn: conn, in: agentproto.NewReader(c, agentproto.Agent), out: agentproto.NewWriter(c)}
}

// lossyConn is a connection whose errors, its end too, are ErrLost.
type lossyConn struct{ net.Conn }

// Read implements io.Reader.
func (c lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		err = lost(err)
	}
	return n, err
}

// Write implements io.Writer.
func (c lossyConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		err = lost(err)
	}
	return n, err
}

// request sends the header line and q, with its paths made clean, at once.
func (p *peer) request(q agentproto.FileRequest) error {
	q.Path = cleaned(q.Path)
	if q.Op == agentproto.FileRename {
		q.To = cleaned(q.To)
	}
	var b bytes.Buffer
	w := agentproto.NewWriter(&b)
	if err := w.Request(agentproto.Request{Op: agentproto.OpFile}); err != nil {
		return err
	}
	if err := w.FileRequest(q); err != nil {
		return err
	}
	if _, err := (lossyConn{p.conn}).Write(b.Bytes()); err != nil {
		return p.writeError(err)
	}
	return nil
}

// cleaned makes an absolute path clean; any other is refused later.
func cleaned(n agentproto.Name) agentproto.Name {
	if !path.IsAbs(string(n)) {
		return n
	}
	return agentproto.Name(path.Clean(string(n)))
}

// fileInfo reads the one report of an answer.
func (p *peer) fileInfo() (agentproto.FileInfo, error) {
	f, err := p.answer()
	if err != nil {
		return agentproto.FileInfo{}, err
	}
	if f.Type != agentproto.TypeReport {
		return agentproto.FileInfo{}, unexpected(f)
	}
	return agentproto.DecodeFileInfo(f.Payload)
}

// reports calls f with each report of an answer, until TypeOK.
func (p *peer) reports(f func(agentproto.Frame) error) error {
	for {
		frame, err := p.answer()
		switch {
		case err != nil:
			return err
		case frame.Type == agentproto.TypeOK:
			return nil
		case frame.Type != agentproto.TypeReport:
			return unexpected(frame)
		}
		if err := f(frame); err != nil {
			return err
		}
	}
}

// finish reads a TypeOK.
func (p *peer) finish() error { return p.reports(unexpected) }

// answer reads a frame. What the agent reports as its failure is an error.
func (p *peer) answer() (agentproto.Frame, error) {
	f, err := p.in.Next()
	if err == nil && f.Type == agentproto.TypeError {
		err = reported(f)
	}
	return f, err
}
