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

// memoryUse is what a process has of the host's memory, without what it maps of
// the guest's, in MiB.
type memoryUse struct {
	rss float64 // resident
	pss float64 // resident, with a page of n processes counted 1/n
}

// memoryOf returns what a process uses. The guest's memory is what it maps of a
// memfd, and any mapping of exactly guest bytes unless that is 0.
func memoryOf(pid int, guest uint64) (memoryUse, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return memoryUse{}, err
	}
	defer f.Close()
	return sumMappings(f, guest)
}

// sumMappings reads proc_pid_smaps(5): for each mapping a line with its addresses
// and its file, then lines of the form "Key: value", "Size" the first of them.
func sumMappings(r io.Reader, guest uint64) (use memoryUse, err error) {
	lines, ofGuest := 0, false
	for s := bufio.NewScanner(r); ; lines++ {
		if !s.Scan() {
			if s.Err() == nil && lines == 0 {
				return use, io.ErrUnexpectedEOF // of a process that has just ended
			}
			return use, s.Err()
		}
		fields := strings.Fields(s.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") {
			ofGuest = len(fields) > 5 && strings.HasPrefix(fields[5], "/memfd:")
			continue
		}
		if len(fields) != 3 {
			continue
		}
		switch key := fields[0]; key {
		case "Size:", "Rss:", "Pss:":
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return use, fmt.Errorf("smaps: %w", err)
			}
			switch {
			case key == "Size:":
				ofGuest = ofGuest || guest != 0 && kib == guest>>10
			case ofGuest:
			case key == "Rss:":
				use.rss += float64(kib) / 1024
			default:
				use.pss += float64(kib) / 1024
			}
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
