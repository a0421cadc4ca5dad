package cpioroot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/gzip"
)

const gzipMagic = "\x1f\x8b" // RFC 1952, 2.3.1

// source is the content of a file of gzip members (RFC 1952, 2.2).
type source struct {
	ctx  context.Context
	file *bufio.Reader
	gz   gzip.Reader
	open bool // in the middle of a member
	// err is what ended the content: io.EOF or what is wrong with the file.
	err error
}

func newSource(ctx context.Context, file io.Reader) *source {
	return &source{ctx: ctx, file: bufio.NewReaderSize(file, 256<<10)}
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (n int, err error) {
	for n == 0 && s.err == nil {
		n, s.err = s.read(p)
	}
	if n > 0 {
		return n, nil
	}
	return 0, s.err
}

// damage is what is wrong with the file, as far as Read has come.
func (s *source) damage() error {
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// read reads from one member, at whose end it may return no bytes.
func (s *source) read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if !s.open {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.gz.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		s.open = false
		return n, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, errors.New("it ends in the middle of its gzip data: copy or make it again")
	case err != nil:
		return n, fmt.Errorf("its gzip data is damaged: copy or make it again: %w", err)
	}
	return n, nil
}

// next begins the next member. Zeros before it, with which files are filled up
// to whole blocks, are skipped.
func (s *source) next() error {
	if _, err := skipZeros(s.file, math.MaxInt64); err != nil {
		return err // io.EOF, too
	}
	if head, _ := s.file.Peek(len(gzipMagic)); string(head) != gzipMagic {
		return errors.New("there is something else behind its gzip data: cut that off, or make the file again")
	}
	err := s.gz.Reset(s.file)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle of a gzip header: copy or make it again")
	case err != nil:
		return fmt.Errorf("its gzip header is damaged: copy or make it again: %w", err)
	}
	s.gz.Multistream(false)
	s.open = true
	return nil
}

// skipZeros skips zeros, not many more than limit, and returns how many. At the
// end of r it returns io.EOF.
func skipZeros(r *bufio.Reader, limit int64) (n int64, err error) {
	for n <= limit {
		if _, err := r.Peek(1); err != nil {
			return n, err
		}
		chunk, err := r.Peek(r.Buffered())
		if err != nil {
			return n, err
		}
		zeros := len(chunk) - len(bytes.TrimLeft(chunk, "\x00"))
		n += int64(zeros)
		if _, err := r.Discard(zeros); err != nil || zeros < len(chunk) {
			return n, err
		}
	}
	return n, nil
}
