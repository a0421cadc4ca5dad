package cpioroot

import (
	"errors"
	"path"
	"strings"

	"github.com/holtvm/holt/internal/boot"
)

// guest is the kernel's side: a file tree that it unpacks archives into, as
// Linux' init/initramfs.c does, with everything that a hostile archive may use
// against it.
type guest struct {
	root  *node
	links map[[2]uint32]string // by inode and type
	// lost are entries that the kernel would have skipped without a word.
	lost []error
}

type node struct {
	kind     uint32
	target   string // of a symbolic link
	children map[string]*node
	touched  bool
}

var errWalk = errors.New("no such way")

func newGuest() *guest {
	g := &guest{root: &node{kind: boot.ModeDir, children: map[string]*node{
		"init":  {kind: boot.ModeRegular},
		newRoot: {kind: boot.ModeDir, children: map[string]*node{}},
	}}}
	g.endArchive()
	return g
}

func (g *guest) endArchive() { g.links = map[[2]uint32]string{} }

// walk finds a name and the directory that holds it. Of a name that does not
// exist, the node is nil.
func (g *guest) walk(name string, follow bool) (dir *node, base string, n *node, err error) {
	return g.walkFrom(g.root, name, follow, 0)
}

func (g *guest) walkFrom(at *node, name string, follow bool, depth int) (*node, string, *node, error) {
	if depth > 40 {
		return nil, "", nil, errWalk
	}
	if strings.HasPrefix(name, "/") {
		at = g.root
	}
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
	if len(parts) == 0 {
		return at, "", at, nil
	}
	for i, part := range parts {
		if at.kind != boot.ModeDir {
			return nil, "", nil, errWalk
		}
		last := i == len(parts)-1
		n := at.children[part]
		if n != nil && n.kind == boot.ModeSymlink && (follow || !last) {
			return g.walkFrom(at, path.Join(append([]string{n.target}, parts[i+1:]...)...), follow, depth+1)
		}
		if last {
			return at, part, n, nil
		}
		if n == nil {
			return nil, "", nil, errWalk
		}
		at = n
	}
	return nil, "", nil, errWalk
}

// clean is clean_path.
func (g *guest) clean(name string, kind uint32) {
	dir, base, n, err := g.walk(name, false)
	if err == nil && n != nil && n.kind != kind && len(n.children) == 0 {
		delete(dir.children, base)
		dir.touched = true
	}
}

// link is maybe_link: 1 for linked, 0 for no link, -1 for an error.
func (g *guest) link(h boot.CPIOHeader) int {
	if h.Links < 2 {
		return 0
	}
	id := [2]uint32{h.Inode, h.Mode & boot.ModeType}
	old, ok := g.links[id]
	if !ok {
		g.links[id] = h.Name
		return 0
	}
	g.clean(h.Name, 0)
	_, _, n, err := g.walk(old, false)
	dir, base, there, err2 := g.walk(h.Name, false)
	if err != nil || err2 != nil || n == nil || there != nil {
		return -1
	}
	dir.children[base] = n
	dir.touched = true
	return 1
}

// put makes a node unless there is one, which create says whether to allow.
func (g *guest) put(name string, n *node, follow bool) (*node, error) {
	dir, base, there, err := g.walk(name, follow)
	if err != nil {
		return nil, err
	}
	if there == nil {
		dir.children[base] = n
		dir.touched = true
		there = n
	}
	if there.kind != n.kind {
		return nil, errors.New("there is something else")
	}
	there.touched = true
	return there, nil
}

// unpack is do_name and do_symlink.
func (g *guest) unpack(h boot.CPIOHeader, content string) {
	var err error
	switch kind := h.Mode & boot.ModeType; kind {
	case boot.ModeSymlink:
		g.clean(h.Name, 0)
		_, err = g.put(h.Name, &node{kind: kind, target: content}, false)
	case boot.ModeDir:
		g.clean(h.Name, kind)
		_, err = g.put(h.Name, &node{kind: kind, children: map[string]*node{}}, true)
	default:
		g.clean(h.Name, kind)
		if g.link(h) < 0 {
			err = errors.New("its link fails")
		} else {
			_, err = g.put(h.Name, &node{kind: kind}, kind == boot.ModeRegular)
		}
	}
	if err != nil {
		g.lost = append(g.lost, errors.New(h.Name+": "+err.Error()))
	}
}

// escaped tells whether anything outside of newRoot was touched.
func (g *guest) escaped() bool {
	return g.root.touched || len(g.root.children) != 2 || g.root.children["init"].touched
}
