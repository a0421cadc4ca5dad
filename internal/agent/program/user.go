package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxAccounts bounds how much is read of /etc/passwd and of /etc/group, bytes.
const maxAccounts = 1 << 20

// user is who a program runs as.
type user struct {
	set      bool // a user was asked for; else it is root, as the agent is
	uid, gid uint32
	groups   []uint32
	home     string
	name     string // and shell are empty without an entry in /etc/passwd
	shell    string
}

// lookupUser resolves "", "name", "uid", "name:group" and the like against the
// guest's account files, as container tools do: a number needs no entry.
func lookupUser(spec string) (user, error) {
	return lookupUserIn(spec, "/etc/passwd", "/etc/group")
}

func lookupUserIn(spec, passwdFile, groupFile string) (user, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	who := user{set: spec != ""}
	if name == "" {
		name = "0"
	}
	if spec != "" && (spec[0] == ':' || hasGroup && group == "") {
		return who, fmt.Errorf("user %q: must be USER or USER:GROUP", spec)
	}
	passwd, err := readAccounts(passwdFile)
	if err != nil {
		return who, err
	}
	id, isNumber := number(name)
	account := find(passwd, 6, func(f []string) bool { return f[0] == name || isNumber && f[2] == name })
	switch {
	case account != nil:
		uid, ok := number(account[2])
		gid, ok2 := number(account[3])
		if !ok || !ok2 {
			return who, fmt.Errorf("user %q: its entry in %s has no valid ids", spec, passwdFile)
		}
		who.uid, who.gid, who.home, who.name = uid, gid, account[5], account[0]
		if len(account) > 6 {
			who.shell = account[6]
		}
	case isNumber:
		who.uid = id
	default:
		return who, fmt.Errorf("user %q: there is no %q in the guest's %s", spec, name, passwdFile)
	}
	if who.home == "" {
		who.home = "/"
		if who.uid == 0 {
			who.home = "/root"
		}
	}
	if !who.set {
		return who, nil
	}
	groups, err := readAccounts(groupFile)
	if err != nil {
		return who, err
	}
	if hasGroup {
		if who.gid, err = lookupGroup(groups, group, groupFile); err != nil {
			return who, fmt.Errorf("user %q: %w", spec, err)
		}
		return who, nil
	}
	if account != nil {
		who.groups = memberships(groups, account[0])
	}
	return who, nil
}

func lookupGroup(groups [][]string, group, file string) (uint32, error) {
	id, isNumber := number(group)
	if g := find(groups, 3, func(f []string) bool { return f[0] == group }); g != nil {
		if gid, ok := number(g[2]); ok {
			return gid, nil
		}
	}
	if !isNumber {
		return 0, fmt.Errorf("there is no group %q in the guest's %s", group, file)
	}
	return id, nil
}

// memberships returns the ids of the groups that list name as a member.
func memberships(groups [][]string, name string) []uint32 {
	var ids []uint32
	for _, g := range groups {
		if len(g) < 4 || !slices.Contains(strings.Split(g[3], ","), name) {
			continue
		}
		if gid, ok := number(g[2]); ok && len(ids) < 1024 {
			ids = append(ids, gid)
		}
	}
	return ids
}

// UserNames returns the names of users by their ids, by the guest's /etc/passwd.
func UserNames() (map[uint32]string, error) {
	passwd, err := readAccounts("/etc/passwd")
	names := make(map[uint32]string, len(passwd))
	for _, f := range passwd {
		if len(f) < 3 {
			continue
		}
		if id, ok := number(f[2]); ok && names[id] == "" {
			names[id] = f[0]
		}
	}
	return names, err
}

// readAccounts returns the colon-separated fields of each line. A file that is
// missing has none: a minimal root has no accounts.
func readAccounts(file string) ([][]string, error) {
	f, err := openRegular(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, err
	}
	var lines [][]string
	for line := range strings.Lines(string(b)) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), ":"))
	}
	return lines, nil
}

// find returns the first line with at least n fields that match accepts.
func find(lines [][]string, n int, match func([]string) bool) []string {
	for _, f := range lines {
		if len(f) >= n && match(f) {
			return f
		}
	}
	return nil
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1 // -1 means "unchanged" to the kernel
}
