package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// defaultDetachKeys leave a program that has this process's terminal.
const defaultDetachKeys = "ctrl-p,ctrl-q"

const detachKeysHelp = "leave the program with these `KEYS`: characters or ctrl-X, with commas between them; none if empty"

// errLeft says that the user has left the program.
var errLeft = errors.New("left by its detach keys")

// parseDetachKeys reads keys such as "ctrl-p,ctrl-q" or "~,.".
func parseDetachKeys(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(text, ",") {
		letter, ctrl := strings.CutPrefix(strings.ToLower(key), "ctrl-")
		switch {
		case ctrl && len(letter) == 1 && strings.ContainsAny(letter, "@abcdefghijklmnopqrstuvwxyz[\\]^_"):
			keys = append(keys, letter[0]&0x1f)
		case len(key) == 1 && key[0] < 0x80:
			keys = append(keys, key[0])
		default:
			return nil, fmt.Errorf("--detach-keys %q: %q must be a character, or ctrl- and one of a-z @ [ \\ ] ^ _", text, key)
		}
	}
	return keys, nil
}

// detachReader is a terminal's input that calls detach, and ends, where keys are typed.
// The begin of them is held back until the next key comes.
type detachReader struct {
	in     io.Reader
	keys   []byte
	detach func()

	held    []byte // the begin of keys that was typed last
	typed   []byte // what is to be read
	leaving bool   // the keys come after that
	err     error  // or this
}

// Read implements io.Reader.
func (r *detachReader) Read(b []byte) (int, error) {
	for len(r.typed) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.typed) == 0 {
		return 0, r.err
	}
	n := copy(b, r.typed)
	r.typed = r.typed[n:]
	return n, nil
}

func (r *detachReader) fill() {
	if r.leaving {
		r.detach()
		r.err = errLeft
		return
	}
	buf := make([]byte, 4<<10)
	n, err := r.in.Read(buf)
	input := slices.Concat(r.held, buf[:n])
	if at := bytes.Index(input, r.keys); at >= 0 {
		r.typed, r.leaving = input[:at], true
		return
	}
	r.err, r.held, r.typed = err, nil, input
	if err == nil {
		sure := len(input) - overlap(input, r.keys)
		r.typed, r.held = input[:sure], input[sure:]
	}
}

// overlap is the length of the longest end of b that keys begin with.
func overlap(b, keys []byte) int {
	for n := min(len(b), len(keys)-1); n > 0; n-- {
		if bytes.HasSuffix(b, keys[:n]) {
			return n
		}
	}
	return 0
}
