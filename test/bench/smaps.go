package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// privateMemory is the proportional set size of a process without what it maps
// of the guest's memory, in MiB.
func privateMemory(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return sumPSS(f)
}

// sumPSS reads proc_pid_smaps(5): for each mapping a line with its addresses and
// its file, then lines of the form "Key: value".
func sumPSS(r io.Reader) (float64, error) {
	var kib, lines int
	guest := false
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			if s.Err() == nil && lines == 0 {
				return 0, io.ErrUnexpectedEOF // of a process that has just ended
			}
			return float64(kib) / 1024, s.Err()
		}
		lines++
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			guest = len(fields) > 5 && strings.HasPrefix(fields[5], "/memfd:")
		case len(fields) == 3 && fields[0] == "Pss:" && !guest:
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0, fmt.Errorf("smaps: %w", err)
			}
			kib += n
		}
	}
}

// children are the processes that pid started, whatever thread it was.
func children(pid int) ([]int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list, err)
			}
			pids = append(pids, child)
		}
	}
	return pids, nil
}
