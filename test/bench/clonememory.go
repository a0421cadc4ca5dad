package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/holtvm/holt"
)

// forkMemory is what each of some forks has for itself, by kind, in MiB.
func forkMemory(ctx context.Context, forks []*holt.VM) (figures, error) {
	sum := figures{}
	for _, vm := range forks {
		info, err := vm.Info(ctx)
		if err != nil {
			return nil, err
		}
		one, err := uniqueMemory(info.MonitorPID)
		if err != nil {
			return nil, err
		}
		for kind, mib := range one {
			sum[kind] += mib / float64(len(forks))
		}
	}
	return sum, nil
}

// uniqueMemory is what a monitor of a clone has for itself.
func uniqueMemory(pid int) (figures, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sumUnique(f)
}

// sumUnique adds up what no other process has, from a table as sumMappings reads it. Of
// guest memory that are the copies of its file's pages; what is mapped of the file
// itself is the file's, also while only one process has looked at it.
func sumUnique(r io.Reader) (figures, error) {
	f := figures{forkGuest: 0, forkMonitor: 0, forkProgram: 0}
	lines, kind := 0, ""
	for s := bufio.NewScanner(r); ; lines++ {
		if !s.Scan() {
			if s.Err() == nil && lines == 0 {
				return nil, io.ErrUnexpectedEOF // of a process that has just ended
			}
			return f, s.Err()
		}
		fields := strings.Fields(s.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") {
			kind = forkMonitor
			if name := strings.Join(fields[5:], " "); strings.Contains(name, "guest-memory") {
				kind = forkGuest
			} else if strings.HasPrefix(name, "/") {
				kind = forkProgram
			}
			continue
		}
		if len(fields) != 3 {
			continue
		}
		own := strings.HasPrefix(fields[0], "Private_") && !strings.HasSuffix(fields[0], "Hugetlb:")
		if kind == forkGuest {
			own = fields[0] == "Anonymous:"
		}
		if !own {
			continue
		}
		kib, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("smaps: %w", err)
		}
		f[kind] += float64(kib) / 1024
	}
}
