package aptpkg

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
)

// Record is what the package lists say about one version of a package.
type Record struct {
	Name, Version, Arch string
	// SHA256 is the hash of the package file in hexadecimal.
	SHA256 string
	// Depends are the names of the packages it needs; where any of several
	// will do, the first.
	Depends []string
}

// String is the name and the version.
func (r Record) String() string { return r.Name + " " + r.Version }

// fileName is the name that apt gives to the package file.
func (r Record) fileName() string {
	return r.Name + "_" + strings.ReplaceAll(r.Version, ":", "%3a") + "_" + r.Arch + ".deb"
}

// Package names and versions become parts of file names and command lines
// (Debian Policy, 5.6.1 and 5.6.12).
var (
	validName    = form(`^[a-z0-9][a-z0-9+.-]*$`)
	validVersion = form(`^[A-Za-z0-9.+~:-]+$`)
	validArch    = form(`^[a-z0-9-]+$`)
	validSHA256  = form(`^[0-9a-f]{64}$`)
)

// form returns a function that matches a pattern, which it compiles when it is first
// needed: most programs with this package in them never download anything.
func form(pattern string) func(string) bool {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
	return func(text string) bool { return compiled().MatchString(text) }
}

func (c *Client) show(ctx context.Context, name string) (Record, error) {
	if !validName(name) {
		return Record{}, fmt.Errorf("%q is no package name", name)
	}
	out, err := c.run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 100 {
		return Record{}, fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	if err != nil {
		return Record{}, err
	}
	return parseRecord(string(out), name)
}

// parseRecord reads the first stanza of apt-cache's output. It returns
// ErrNotFound for a package that is known but cannot be downloaded.
func parseRecord(out, name string) (Record, error) {
	stanza, _, _ := strings.Cut(strings.TrimLeft(out, "\n"), "\n\n")
	fields := make(map[string]string)
	for line := range strings.SplitSeq(stanza, "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			fields[key] = strings.TrimSpace(value)
		}
	}
	if fields["Filename"] == "" {
		return Record{}, fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	r := Record{Name: fields["Package"], Version: fields["Version"], Arch: fields["Architecture"], SHA256: fields["SHA256"]}
	if !validName(r.Name) || !validVersion(r.Version) || !validArch(r.Arch) || !validSHA256(r.SHA256) {
		return Record{}, fmt.Errorf("package %s: its record in the package lists cannot be understood", name)
	}
	r.Depends = parseDepends(fields["Pre-Depends"] + "," + fields["Depends"])
	return r, nil
}

// parseDepends takes the names out of "a (>= 1), b:any | c".
func parseDepends(s string) []string {
	var names []string
	for item := range strings.SplitSeq(s, ",") {
		first, _, _ := strings.Cut(item, "|")
		name, _, _ := strings.Cut(strings.TrimSpace(first), " ")
		name, _, _ = strings.Cut(name, ":")
		if validName(name) {
			names = append(names, name)
		}
	}
	return names
}
