package vmtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Unique is the memory that a VM's monitor has for itself, in bytes, by kind: guest
// pages, the monitor's own, and of its program file.
type Unique struct{ Guest, Monitor, Program int64 }

// UniqueMemory reads what a VM's monitor has for itself (proc_pid_smaps(5)).
func UniqueMemory(pid int) (Unique, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return Unique{}, err
	}
	defer f.Close()
	return sumUnique(f)
}

// sumUnique adds up what no other process has. Of guest memory that are the copies of its
// file's pages; what is mapped of the file itself is the file's, also while only one
// process has looked at it.
func sumUnique(r io.Reader) (u Unique, err error) {
	lines, kind := 0, &u.Monitor
	for s := bufio.NewScanner(r); ; lines++ {
		if !s.Scan() {
			if s.Err() == nil && lines == 0 {
				return u, io.ErrUnexpectedEOF // of a process that has just ended
			}
			return u, s.Err()
		}
		fields := strings.Fields(s.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") { // a mapping
			kind = &u.Monitor
			if name := strings.Join(fields[5:], " "); strings.Contains(name, "guest-memory") {
				kind = &u.Guest
			} else if strings.HasPrefix(name, "/") {
				kind = &u.Program
			}
			continue
		}
		if len(fields) != 3 {
			continue
		}
		own := strings.HasPrefix(fields[0], "Private_") && !strings.HasSuffix(fields[0], "Hugetlb:")
		if kind == &u.Guest {
			own = fields[0] == "Anonymous:"
		}
		if !own {
			continue
		}
		kib, err := strconv.ParseUint(fields[1], 10, 53)
		if err != nil {
			return u, fmt.Errorf("smaps: %w", err)
		}
		*kind += int64(kib) << 10
	}
}
