package cpioroot

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/holtvm/holt/internal/boot"
)

const (
	maxName = 255 // of a name between slashes, in bytes (NAME_MAX)
	// maxPath is the longest name, in bytes: the kernel takes PATH_MAX with the
	// prefix and a NUL (Linux, init/initramfs.c).
	maxPath = 4096 - len(newRoot) - len("/") - 1
)

// names knows what every name stands for, as the kernel comes to know it while
// it unpacks.
type names struct {
	seeds [2]maphash.Seed
	types map[nameHash]uint16 // file types as in stat(2)
	files map[fileID]uint32   // files with several hard links in this archive
	links map[nameHash]bool   // and their names
}

// nameHash stands for a name, which may be long. That two names have one hash
// nobody can bring about, since the seeds are random.
type nameHash [2]uint64

// fileID is what the kernel joins hard links by.
type fileID struct {
	inode, devMajor, devMinor uint32
	kind                      uint16
}

func newNames() *names {
	n := &names{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, types: make(map[nameHash]uint16)}
	n.types[n.hash(".")] = boot.ModeDir
	n.endArchive()
	return n
}

func (n *names) hash(name string) nameHash {
	return nameHash{maphash.String(n.seeds[0], name), maphash.String(n.seeds[1], name)}
}

// endArchive forgets about hard links, as the kernel does after each archive.
func (n *names) endArchive() {
	n.files, n.links = make(map[fileID]uint32), make(map[nameHash]bool)
}

// add notes an entry. It returns the directories above it that nobody made, the
// lowest first.
//
// The kernel would follow a symbolic link on the way to a name, out of the root
// and over the files that it boots with; so there must be none.
func (n *names) add(h boot.CPIOHeader) (missing []string, err error) {
	if err := checkName(h.Name); err != nil {
		return nil, err
	}
	for dir := parent(h.Name); ; dir = parent(dir) {
		kind, ok := n.types[n.hash(dir)]
		if kind == boot.ModeDir {
			break
		}
		if ok {
			return nil, fmt.Errorf("%.200q is below %.200q, which is %s in the archive: archive the tree as it is, without names that lead through links",
				h.Name, dir, kindName(kind))
		}
		missing = append(missing, dir)
	}
	for _, dir := range missing {
		n.types[n.hash(dir)] = boot.ModeDir
	}
	hash, kind := n.hash(h.Name), uint16(h.Mode&boot.ModeType)
	if n.types[hash] == boot.ModeDir && kind != boot.ModeDir {
		return nil, fmt.Errorf("%.200q is a directory in the archive and then %s: remove one of the two", h.Name, kindName(kind))
	}
	// Of such a name, the kernel loses the file or links to what took its place.
	if n.links[hash] {
		return nil, fmt.Errorf("%.200q is a file with several hard links and comes twice: name every file once", h.Name)
	}
	n.types[hash] = kind
	return missing, nil
}

// link returns the inode of an entry with several hard links, counted from 1 in
// each archive so that the kernel's table of them is evenly filled, and whether
// it is new.
func (n *names) link(h boot.CPIOHeader) (inode uint32, fresh bool) {
	n.links[n.hash(h.Name)] = true
	id := fileID{h.Inode, h.DevMajor, h.DevMinor, uint16(h.Mode & boot.ModeType)}
	inode, ok := n.files[id]
	if !ok {
		inode = uint32(len(n.files) + 1)
		n.files[id] = inode
	}
	return inode, !ok
}

// checkName refuses names for which the kernel makes no file.
func checkName(name string) error {
	if len(name) > maxPath {
		return fmt.Errorf("%.80q…: a name of %d bytes: at most %d are possible", name, len(name), maxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxName {
			return fmt.Errorf("%.80q…: a name of %d bytes: at most %d are possible", part, len(part), maxName)
		}
	}
	return nil
}

// parent is the directory that holds a clean name.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

func kindName(kind uint16) string {
	switch kind {
	case boot.ModeDir:
		return "a directory"
	case boot.ModeSymlink:
		return "a symbolic link"
	case boot.ModeRegular:
		return "a file"
	}
	return "a device, FIFO or socket"
}
