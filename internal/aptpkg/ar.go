package aptpkg

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The ar format (deb(5), ar(5)): a magic line, then members, each a header of
// text fields and a content padded to two bytes.
const (
	arMagic     = "!<arch>\n"
	arHeaderLen = 60
	arHeaderEnd = "`\n"
)

// arReader reads the members of an ar archive one after the other.
type arReader struct {
	r      io.Reader
	member io.LimitedReader
	pad    int64
}

func newARReader(r io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return nil, errors.New("not a Debian package")
	}
	return &arReader{r: r, member: io.LimitedReader{R: r}}, nil
}

// next skips to the next member and returns its name and content, or io.EOF.
func (a *arReader) next() (string, io.Reader, error) {
	if _, err := io.CopyN(io.Discard, a.r, a.member.N+a.pad); err != nil {
		return "", nil, fmt.Errorf("skip archive member: %w", err)
	}
	a.member.N, a.pad = 0, 0
	var header [arHeaderLen]byte
	if _, err := io.ReadFull(a.r, header[:]); err != nil {
		return "", nil, err
	}
	name := strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/")
	size, err := strconv.ParseUint(strings.TrimRight(string(header[48:58]), " "), 10, 40)
	if err != nil || string(header[58:]) != arHeaderEnd {
		return "", nil, fmt.Errorf("bad archive header of %q", name)
	}
	a.member.N, a.pad = int64(size), int64(size%2)
	return name, &a.member, nil
}
