package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holtvm/holt/internal/vmtest"
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

// sumMappings adds up what is not the guest's.
func sumMappings(smaps io.Reader, guest uint64) (use memoryUse, err error) {
	mappings, err := vmtest.ReadSmaps(smaps)
	for _, m := range mappings {
		if strings.HasPrefix(m.Name, "/memfd:") || guest != 0 && m.Bytes["Size"] == int64(guest) {
			continue
		}
		use.rss += float64(m.Bytes["Rss"]) / (1 << 20)
		use.pss += float64(m.Bytes["Pss"]) / (1 << 20)
	}
	return use, err
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
