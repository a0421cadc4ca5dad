package program

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLookupUser reads account files that the guest's owner did not write.
func FuzzLookupUser(f *testing.F) {
	f.Add("ann:staff", []byte("ann:x:1000:1001::/home/ann:/bin/sh\n"), []byte("staff:x:50:ann\n"))
	f.Add("0", []byte(":::\n"), []byte("a:b"))
	f.Fuzz(func(t *testing.T, spec string, passwd, group []byte) {
		dir := t.TempDir()
		p, g := filepath.Join(dir, "p"), filepath.Join(dir, "g")
		if os.WriteFile(p, passwd, 0o600) != nil || os.WriteFile(g, group, 0o600) != nil {
			t.Skip()
		}
		who, err := lookupUserIn(spec, p, g)
		if err == nil && (who.uid == 1<<32-1 || who.gid == 1<<32-1 || who.home == "") {
			t.Fatalf("accepted %+v", who)
		}
	})
}
