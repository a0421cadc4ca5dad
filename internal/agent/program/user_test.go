package program

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestLookupUser(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for file, content := range map[string]string{
		passwd: "root:x:0:0:root:/root:/bin/sh\n\n:::\nann:x:1000:1001::/home/ann:/bin/sh\nbad:x:99999999999:1::/:/\n",
		group:  "root:x:0:\nstaff:x:50:bob,ann\nann:x:1001:\nwheel:x:10:ann\nshort\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		spec string
		want user
		ok   bool
	}{
		{"", user{home: "/root"}, true},
		{"root", user{set: true, home: "/root"}, true},
		{"ann", user{set: true, uid: 1000, gid: 1001, groups: []uint32{50, 10}, home: "/home/ann"}, true},
		{"1000", user{set: true, uid: 1000, gid: 1001, groups: []uint32{50, 10}, home: "/home/ann"}, true},
		{"ann:staff", user{set: true, uid: 1000, gid: 50, home: "/home/ann"}, true},
		{"ann:7", user{set: true, uid: 1000, gid: 7, home: "/home/ann"}, true},
		{"4242", user{set: true, uid: 4242, home: "/"}, true},
		{"4242:4343", user{set: true, uid: 4242, gid: 4343, home: "/"}, true},
		{spec: "bob"}, {spec: "bad"}, {spec: "ann:nogroup"}, {spec: ":staff"}, {spec: "ann:"}, {spec: "-1"}, {spec: "4294967295"},
	}
	for _, tt := range tests {
		got, err := lookupUserIn(tt.spec, passwd, group)
		if (err == nil) != tt.ok || tt.ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v; want %+v", tt.spec, got, err, tt.want)
		}
	}
	if got, err := lookupUserIn("", "/no/such", "/no/such"); err != nil || got.home != "/root" {
		t.Errorf("without account files: %+v, %v", got, err)
	}
}
