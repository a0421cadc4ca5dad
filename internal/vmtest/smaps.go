package vmtest

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Mapping is one of a process's mappings, as proc_pid_smaps(5) has it.
type Mapping struct {
	Name  string           // of its file, or of its kind in brackets; may be ""
	Bytes map[string]int64 // "Size", "Rss" and so on
}

// ReadSmaps reads proc_pid_smaps(5): for each mapping a line with its addresses and its
// name, then lines of the form "Key: 4 kB", and some others.
func ReadSmaps(r io.Reader) ([]Mapping, error) {
	var all []Mapping
	s := bufio.NewScanner(r)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			all = append(all, Mapping{strings.Join(fields[5:], " "), map[string]int64{}})
		case len(fields) == 3 && fields[2] == "kB" && len(all) > 0:
			kib, err := strconv.ParseUint(fields[1], 10, 53)
			if err != nil {
				return nil, fmt.Errorf("smaps: %w", err)
			}
			all[len(all)-1].Bytes[strings.TrimSuffix(fields[0], ":")] = int64(kib) << 10
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, io.ErrUnexpectedEOF // of a process that has just ended
	}
	return all, nil
}
