package fsserver

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// keepID leaves an owner or group as it is, for chown(2).
const keepID = -1

// ids translates owners between guest and host, as the package comment tells.
type ids struct {
	squash   bool
	uid, gid uint32 // of the server
}

func newIDs(euid, egid int) ids {
	return ids{squash: euid != 0, uid: uint32(euid), gid: uint32(egid)}
}

// toGuest translates the owner of a file of the host.
func (i ids) toGuest(uid, gid uint32) fuse.Owner {
	if i.squash && uid == i.uid {
		uid = 0
	}
	if i.squash && gid == i.gid {
		gid = 0
	}
	return fuse.Owner{Uid: uid, Gid: gid}
}

// toHost translates the owner that the guest wants for a file.
func (i ids) toHost(uid, gid int) (int, int, error) {
	uid, err := i.idToHost(uid, i.uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = i.idToHost(gid, i.gid)
	return uid, gid, err
}

func (i ids) idToHost(id int, server uint32) (int, error) {
	switch {
	case !i.squash:
		return id, nil
	case id == 0:
		return int(server), nil
	case id == int(server):
		// It would succeed and read back as root's.
		return 0, unix.EPERM
	}
	return id, nil
}

// created returns the owner to give to a file that a user of the guest has
// made, with keepID for what is right already.
func (i ids) created(by fuse.Owner) (uid, gid int) {
	uid, gid = keepID, keepID
	if i.squash {
		return uid, gid
	}
	if by.Uid != i.uid {
		uid = int(by.Uid)
	}
	if by.Gid != i.gid {
		gid = int(by.Gid)
	}
	return uid, gid
}
