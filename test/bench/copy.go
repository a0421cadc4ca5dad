package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	copyGoal = ">= 1.0"

	// guestMemoryDir is a file system in the guest's memory.
	guestMemoryDir = "/dev/shm"
	// treeFile is how large each file of the tree is, in bytes.
	treeFile = 2 << 10
	// treeFanOut is how many files a directory of the tree has.
	treeFanOut = 50
)

// copier is a program that copies into the guest and out of it.
type copier struct {
	name    string
	program []string
	guest   string // what stands before paths of the guest

	rates map[string][]float64 // of each figure
}

// cargo is what is copied.
type cargo struct {
	name   string
	path   string
	amount float64
	unit   string
}

// copy compares `holt cp` with scp, each way, from memory to memory.
func (b *bench) copy(ctx context.Context) ([]result, error) {
	g, err := b.startSSHGuest(ctx)
	if err != nil {
		return nil, err
	}
	defer g.close()
	dir, err := os.MkdirTemp(b.dir, "holt-bench-copy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	things, err := b.cargo(dir)
	if err != nil {
		return nil, err
	}
	ours := &copier{name: "holt cp", program: []string{g.holt, "cp"}, guest: g.name + ":"}
	peers := []*copier{
		{name: "scp", program: []string{"scp", "-F", g.config, "-q", "-r"}, guest: sshHost + ":"},
		{name: "scp -O", program: []string{"scp", "-F", g.config, "-q", "-r", "-O"}, guest: sshHost + ":"},
	}
	n := b.count(3, 1)
	for i := range n {
		for _, c := range append([]*copier{ours}, peers...) {
			for _, what := range things {
				if err := c.roundTrip(ctx, g, what); err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				progress("copy %d/%d  %-8s %s  %.1f %s there, %.1f back", i+1, n, c.name, what.name, c.last(what.name+"-to-guest"), what.unit, c.last(what.name+"-from-guest"))
			}
		}
	}
	var results []result
	for _, what := range things {
		for _, way := range []string{"-to-guest", "-from-guest"} {
			name := what.name + way
			// The faster of the two is what Holt is held to.
			best := slices.MaxFunc(peers, func(a, b *copier) int { return cmp.Compare(median(a.rates[name]), median(b.rates[name])) })
			results = append(results, compare(name, what.unit, copyGoal, best.name, ours.rates[name], best.rates[name]))
		}
	}
	return results, nil
}

// cargo makes what is copied.
func (b *bench) cargo(dir string) ([]cargo, error) {
	size, files := 64<<20, 2000
	if b.short {
		size, files = 8<<20, 100
	}
	big, tree := filepath.Join(dir, "file"), filepath.Join(dir, "tree")
	if err := writeRandom(big, size); err != nil {
		return nil, err
	}
	for i := range files {
		name := filepath.Join(tree, fmt.Sprint(i/treeFanOut), fmt.Sprint(i%treeFanOut))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := writeRandom(name, treeFile); err != nil {
			return nil, err
		}
	}
	return []cargo{
		{name: "copy-file", path: big, amount: float64(size) / 1e6, unit: "MB/s"},
		{name: "copy-tree", path: tree, amount: float64(files), unit: "files/s"},
	}, nil
}

func writeRandom(path string, size int) error {
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	return os.WriteFile(path, data, 0o644)
}

// roundTrip copies into the guest and back, and checks that what comes back is what
// went.
func (c *copier) roundTrip(ctx context.Context, g *sshGuest, what cargo) error {
	there, back := guestMemoryDir+"/"+what.name, what.path+"-back"
	defer os.RemoveAll(back)
	for _, trip := range []struct{ way, from, to string }{
		{"-to-guest", what.path, c.guest + there},
		{"-from-guest", c.guest + there, back},
	} {
		took, err := timed(exec.CommandContext(ctx, c.program[0], append(c.program[1:len(c.program):len(c.program)], trip.from, trip.to)...))
		if err != nil {
			return err
		}
		if c.rates == nil {
			c.rates = map[string][]float64{}
		}
		c.rates[what.name+trip.way] = append(c.rates[what.name+trip.way], what.amount/took.Seconds())
	}
	if err := same(what.path, back); err != nil {
		return err
	}
	return g.vm.FS().WithContext(ctx).RemoveAll(strings.TrimPrefix(there, "/"))
}

func (c *copier) last(name string) float64 { return c.rates[name][len(c.rates[name])-1] }

// same fails unless two files or trees have the same files with the same bytes.
func same(a, b string) error {
	var names [2][]string
	for i, top := range []string{a, b} {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				names[i] = append(names[i], strings.TrimPrefix(path, top))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if !slices.Equal(names[0], names[1]) {
		return fmt.Errorf("%d files were copied, and %d other ones came back", len(names[0]), len(names[1]))
	}
	for _, name := range names[0] {
		one, err := os.ReadFile(a + name)
		if err != nil {
			return err
		}
		other, err := os.ReadFile(b + name)
		if err != nil {
			return err
		}
		if !bytes.Equal(one, other) {
			return fmt.Errorf("%s came back with other bytes", name)
		}
	}
	return nil
}
