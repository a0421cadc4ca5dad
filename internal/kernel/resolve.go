package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// selected is a module that goes into the store.
type selected struct {
	name, group string
	data        []byte
}

// selection is what a kernel's tree has of the wanted modules.
type selection struct {
	// modules are in the order in which they must be loaded.
	modules []selected
	// missing are optional modules that the tree lacks.
	missing []string
	// release is the kernel that the modules are for, "" if there are none.
	release string
}

// errAbsent says that a module is neither in the tree nor built in.
var errAbsent = errors.New("no such module")

// resolver walks the dependencies of modules, depth first.
type resolver struct {
	tree    moduleTree
	release string // what the modules must be for; "" takes the first one's
	out     selection
	// groups of the modules that are in out
	have map[string]map[string]bool
}

// resolve finds all wanted modules and what they depend on in tree. They must
// be for the kernel release, unless that is "". A core module that is missing
// is an error.
func resolve(tree moduleTree, release string) (selection, error) {
	r := resolver{tree: tree, release: release, have: make(map[string]map[string]bool)}
	var absent []string
	for _, g := range groups {
		for _, w := range g.modules {
			err := r.add(w.name, g.name, nil)
			switch {
			case errors.Is(err, errAbsent) && g.name == coreGroup:
				absent = append(absent, fmt.Sprintf("no %s module and it is not built in (%s)", w.name, w.config))
			case errors.Is(err, errAbsent):
				r.out.missing = append(r.out.missing, w.name)
			case err != nil:
				return selection{}, err
			}
		}
	}
	if len(absent) > 0 {
		if release == "" {
			release = "of unknown version"
		}
		return selection{}, fmt.Errorf("kernel %s has %s", release, strings.Join(absent, "; "))
	}
	r.out.release = r.release
	return r.out, nil
}

// add appends what name depends on and then name itself. The parents, which
// depend on name, guard against circles.
func (r *resolver) add(name, group string, parents []string) error {
	name = fold(name)
	if r.tree.builtin[name] || r.have[name][group] || r.have[name][coreGroup] {
		return nil
	}
	if slices.Contains(parents, name) {
		return fmt.Errorf("module %s depends on itself through %s", name, strings.Join(parents, ", "))
	}
	path, ok := r.tree.files[name]
	if !ok {
		return fmt.Errorf("%w: %s", errAbsent, name)
	}
	data, info, err := readModule(path)
	if err != nil {
		return err
	}
	if r.release == "" {
		r.release = info.release
	}
	if info.release != r.release {
		return fmt.Errorf("module %s is for kernel %q, not for %s", path, info.release, r.release)
	}
	// Nothing of a module is kept when part of it is missing.
	before := len(r.out.modules)
	for _, dep := range info.depends {
		if err := r.add(dep, group, append(parents, name)); err != nil {
			r.drop(before)
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	r.out.modules = append(r.out.modules, selected{name, group, data})
	if r.have[name] == nil {
		r.have[name] = make(map[string]bool)
	}
	r.have[name][group] = true
	return nil
}

// drop takes back all modules after the first keep.
func (r *resolver) drop(keep int) {
	for _, m := range r.out.modules[keep:] {
		delete(r.have[m.name], m.group)
	}
	r.out.modules = r.out.modules[:keep]
}
