// Package outlog keeps what a VM printed in the VM's directory, within limits, and
// reads it back as lines.
//
// A log is a file and, once that was full, the file before it (see internal/logfile).
// Each is a sequence of records, one for each write: a line of text with the time in
// nanoseconds since 1970, the stream's letter and the length in bytes; then the
// bytes; then a newline.
//
//	1767225600000000000 o 6
//	hello
//
// What a crash damaged is skipped up to the next record.
package outlog

import (
	"bytes"
	"io"
	"strconv"
	"time"
)

// Stream says where text was printed to. Its value is its letter in the file.
type Stream byte

// The streams: the main program's two, and the guest's console.
const (
	Stdout  Stream = 'o'
	Stderr  Stream = 'e'
	Console Stream = 'c'
)

const (
	// maxText is the most text of a record, in bytes.
	maxText = 32 << 10
	// maxHeader is the longest first line of a record, in bytes: a number of 64
	// bits with its sign, the letter, the length, two spaces and the newline.
	maxHeader = 20 + 1 + 5 + 2 + 1
	// window is how much of a file is read at once, in bytes: several records.
	window = 4 * maxText
)

// record is one write to a stream.
type record struct {
	at     time.Time
	stream Stream
	text   []byte
}

// appendRecord appends r to b as it stands in the file.
func appendRecord(b []byte, r record) []byte {
	b = strconv.AppendInt(b, r.at.UnixNano(), 10)
	b = append(b, ' ', byte(r.stream), ' ')
	b = strconv.AppendInt(b, int64(len(r.text)), 10)
	b = append(b, '\n')
	b = append(b, r.text...)
	return append(b, '\n')
}

// parseHeader reads the first line of a record, without its newline, and returns
// the length of the text.
func parseHeader(line []byte) (r record, length int, ok bool) {
	at, rest, _ := bytes.Cut(line, []byte(" "))
	stream, size, _ := bytes.Cut(rest, []byte(" "))
	ns, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil || len(stream) != 1 {
		return record{}, 0, false
	}
	length, err = strconv.Atoi(string(size))
	if err != nil || length < 1 || length > maxText {
		return record{}, 0, false
	}
	r = record{at: time.Unix(0, ns), stream: Stream(stream[0])}
	switch r.stream {
	case Stdout, Stderr, Console:
		return r, length, true
	}
	return record{}, 0, false
}

// scanner reads the records of a file. It keeps nothing of a record that is not
// whole, since the writer may cut that off and write another in its place.
type scanner struct {
	file   io.ReaderAt
	offset int64  // of the next record
	buf    []byte // what was read of the file last
	ahead  []byte // the part of buf that begins at offset
}

// next returns the next record. Its text is valid until the next call. The error is
// io.EOF if there is no whole one; then next may be called again later.
func (s *scanner) next() (record, error) {
	for {
		b, err := s.peek(maxHeader)
		if err != nil {
			return record{}, err
		}
		end := bytes.IndexByte(b[:min(len(b), maxHeader)], '\n')
		if end < 0 && len(b) < maxHeader {
			return record{}, io.EOF
		}
		if r, length, ok := parseHeader(b[:max(end, 0)]); ok {
			whole := end + 1 + length + 1
			if b, err = s.peek(whole); err != nil {
				return record{}, err
			}
			if len(b) < whole {
				return record{}, io.EOF
			}
			if b[whole-1] == '\n' {
				r.text = b[end+1 : whole-1]
				s.skip(whole)
				return r, nil
			}
		}
		// This is damage. A record can only begin after a newline.
		if end = bytes.IndexByte(b, '\n'); end < 0 {
			end = len(b) - 1
		}
		s.skip(end + 1)
	}
}

// peek returns what is ahead: n bytes at least, or everything that there is.
func (s *scanner) peek(n int) ([]byte, error) {
	if len(s.ahead) >= n {
		return s.ahead, nil
	}
	if s.buf == nil {
		s.buf = make([]byte, window)
	}
	got, err := s.file.ReadAt(s.buf, s.offset)
	if err != nil && err != io.EOF {
		return nil, err
	}
	s.ahead = s.buf[:got]
	return s.ahead, nil
}

func (s *scanner) skip(n int) {
	s.offset += int64(n)
	s.ahead = s.ahead[n:]
}
