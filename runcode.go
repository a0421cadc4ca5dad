package holt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/paths"
)

// maxSource is the longest source that is run, in bytes: Linux takes no longer argument
// (MAX_ARG_STRLEN less the NUL).
const maxSource = 128<<10 - 1

// interpreter runs a language.
type interpreter struct {
	programs []string // names that it may have
	flag     string   // the source is its argument
}

// args are the arguments with which source is run.
func (i interpreter) args(source string) []string { return []string{i.flag, source} }

// interpreterOf returns the interpreter of a language that takes source.
func interpreterOf(language, source string) (interpreter, error) {
	all := map[string]interpreter{
		"bash":       {[]string{"bash"}, "-c"},
		"javascript": {[]string{"node", "nodejs"}, "-e"},
		"lua":        {[]string{"lua", "lua5.4", "lua5.3", "luajit"}, "-e"},
		"node":       {[]string{"node", "nodejs"}, "-e"},
		"perl":       {[]string{"perl"}, "-e"},
		"php":        {[]string{"php"}, "-r"},
		"python":     {[]string{"python3", "python"}, "-c"},
		"ruby":       {[]string{"ruby"}, "-e"},
		"sh":         {[]string{"sh"}, "-c"},
	}
	i, ok := all[language]
	switch {
	case !ok:
		return i, fmt.Errorf("language %q: must be one of %s", language, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	case len(source) > maxSource:
		return i, fmt.Errorf("the source has %d bytes: at most %d fit an argument; write it to a file of the guest and run that", len(source), maxSource)
	}
	return i, nil
}

// missing says that a root has no such interpreter.
func (i interpreter) missing(root string) error {
	return fmt.Errorf("%w: %s has no %s: install it there, or use a root that has it", ErrProgramNotFound, root, strings.Join(i.programs, " or "))
}

// WithRoot names the directory on the host that becomes the guest's root in [RunCode],
// in place of the base root that `holt setup` makes. It is only read.
func WithRoot(dir string) Option { return func(o *options) { o.root = dir } }

// RunCode runs source in a VM of its own and returns its standard output, all of which
// it holds in memory. The language is bash, javascript (or node), lua, perl, php,
// python, ruby or sh; its interpreter is the root's, which must have it (see
// [WithRoot]: the base root has sh alone). The VM has the defaults of [DefaultConfig],
// and what the program writes to / is lost. A program that does not end with status 0
// is an *ExitError with what it said on standard error.
func RunCode(ctx context.Context, language, source string, opts ...Option) ([]byte, error) {
	i, err := interpreterOf(language, source)
	if err != nil {
		return nil, err
	}
	cfg := DefaultConfig()
	cfg.RootOverlay, cfg.Args = true, i.args(source)
	if cfg.RootPath, err = codeRoot(opts); err != nil {
		return nil, err
	}
	if cfg.ExecPath, err = i.in(cfg.RootPath); err != nil {
		return nil, err
	}
	vm, err := New(cfg, opts...)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	var said ends
	vm.Stdout, vm.Stderr = &out, &said
	err = vm.Run(ctx)
	if exit, ok := errors.AsType[*ExitError](err); ok {
		exit.Stderr = said.Bytes()
	}
	return out.Bytes(), err
}

// codeRoot is the root directory of RunCode.
func codeRoot(opts []Option) (string, error) {
	var o options
	for _, set := range opts {
		set(&o)
	}
	if o.root != "" {
		return o.root, nil
	}
	dirs, err := paths.Default()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dirs.BaseRoot()); err != nil {
		return "", errors.New("there is no base root yet: run `holt setup`, or name a root directory with holt.WithRoot")
	}
	return dirs.BaseRoot(), nil
}

// in returns the name under which a root directory has the interpreter. That saves the
// boots that find out about the others.
func (i interpreter) in(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, name := range i.programs {
		for _, bin := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"} {
			// A link may be absolute, and lead where only the guest can tell.
			if info, err := root.Lstat(path.Join(bin, name)); err == nil && info.Mode()&fs.ModeDir == 0 {
				return name, nil
			}
		}
	}
	return "", i.missing(dir)
}

// RunCode is the function RunCode in this VM, which runs: it runs source beside
// whatever else runs there.
func (vm *VM) RunCode(ctx context.Context, language, source string) ([]byte, error) {
	i, err := interpreterOf(language, source)
	if err != nil {
		return nil, err
	}
	for _, name := range i.programs {
		out, err := vm.Command(ctx, name, i.args(source)...).Output()
		if !errors.Is(err, ErrProgramNotFound) {
			return out, err
		}
	}
	return nil, i.missing("the VM " + vm.Name())
}
