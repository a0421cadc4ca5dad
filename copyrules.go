package holt

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// place says where what is at the path from is copied to: to the path to itself, or to
// a name in it. there is what is at to; nil if nothing is.
func place(from string, what fs.FileInfo, to string, there fs.FileInfo) (name string, err error) {
	name = path.Base(from)
	contents := name == "." || name == ".." || name == "/"
	switch {
	case !what.IsDir() && (contents || strings.HasSuffix(from, "/")):
		return "", &fs.PathError{Op: "copy", Path: from, Err: syscall.ENOTDIR}
	case there == nil && strings.HasSuffix(to, "/") && !what.IsDir():
		return "", &fs.PathError{Op: "copy to", Path: to, Err: syscall.ENOENT}
	case there == nil, there.IsDir() && contents:
		return "", nil
	case there.IsDir():
		return name, nil
	case what.IsDir() || strings.HasSuffix(to, "/"):
		return "", &fs.PathError{Op: "copy to", Path: to, Err: syscall.ENOTDIR}
	case !there.Mode().IsRegular():
		err = errors.New("it is neither a file nor a directory, and would be replaced: remove it first")
		return "", &fs.PathError{Op: "copy to", Path: to, Err: err}
	}
	return "", nil
}

// existing makes nil of what does not exist.
func existing(info fs.FileInfo, err error) (fs.FileInfo, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// followed reports whether the end of a path stands for what a link leads to.
func followed(p string) bool {
	return strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
}

// below puts a tree's top at a name in the directory that to is of, unless that is "".
// The sink does not follow a link that has the name.
func below(to filetree.Sink, name string) filetree.Sink {
	if name == "" {
		return to
	}
	return belowSink{to, agentproto.Name(name)}
}

type belowSink struct {
	filetree.Sink

	name agentproto.Name
}

// Put implements filetree.Sink.
func (b belowSink) Put(e agentproto.Entry, data io.Reader) error {
	e.Path = b.at(e.Path)
	if e.HardLink {
		e.Target = b.at(e.Target)
	}
	return b.Sink.Put(e, data)
}

func (b belowSink) at(p agentproto.Name) agentproto.Name {
	if p == "." {
		return b.name
	}
	return b.name + "/" + p
}

// CopyStatus is how far a copy has got.
type CopyStatus struct {
	Path  string // of the file that is being copied, below the source; "." is that itself
	Files int    // how many were begun, directories included
	Bytes int64  // of content that were copied
	Total int64  // how many there are in all; 0 if that is not known
}

// copying is how something is copied.
type copying struct {
	owners, follow bool
	report         func(CopyStatus)
	status         CopyStatus
}

func newCopying(opts []CopyOption) *copying {
	c := &copying{}
	for _, set := range opts {
		set(c)
	}
	return c
}

// count reports an entry, and returns its data as ones that are reported.
func (c *copying) count(e agentproto.Entry, data io.Reader) io.Reader {
	if c.report == nil {
		return data
	}
	c.status.Path = string(e.Path)
	c.status.Files++
	if e.Path == "." && e.HasData() {
		c.status.Total = e.Size
	}
	c.report(c.status)
	if data == nil {
		return nil
	}
	return countedReader{data, c}
}

type countedReader struct {
	io.Reader

	c *copying
}

// Read implements io.Reader.
func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.c.status.Bytes += int64(n)
		r.c.report(r.c.status)
	}
	return n, err
}

type countedSource struct {
	filetree.Source

	c *copying
}

// Next implements filetree.Source.
func (s countedSource) Next() (agentproto.Entry, io.Reader, error) {
	e, data, err := s.Source.Next()
	if err != nil {
		return e, nil, err
	}
	return e, s.c.count(e, data), nil
}

type countedSink struct {
	filetree.Sink

	c *copying
}

// Put implements filetree.Sink.
func (s countedSink) Put(e agentproto.Entry, data io.Reader) error {
	return s.Sink.Put(e, s.c.count(e, data))
}
