package monitor

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/diskimage"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtio/fs"
)

// RootName is the root's virtio-fs tag or its disk's serial.
const RootName = "root"

// DiskName is the serial of a disk that is not the root, counted from 0.
func DiskName(i int) string { return fmt.Sprintf("disk%d", i) }

// Queues that a shared directory or a disk has at most, for requests of as many
// vCPUs at once.
const (
	maxShareQueues = 4
	maxDiskQueues  = 4
)

// addRoot tells the agent what the root is, and shares it if it is a directory.
func (a *assembly) addRoot(spec Spec) error {
	switch {
	case spec.Rootfs != "":
		a.boot.Mounts = append(a.boot.Mounts, agentproto.Mount{Kind: agentproto.MountMemory, Target: "/"})
		return nil
	case spec.RootDisk != nil:
		a.groups = append(a.groups, "filesystems")
		a.boot.Mounts = append(a.boot.Mounts, agentproto.Mount{Kind: agentproto.MountDisk, Tag: RootName, Target: "/", ReadOnly: spec.RootDisk.ReadOnly && !spec.RootOverlay})
	default:
		if err := a.share(RootName, Share{Host: spec.Root, Guest: "/", ReadOnly: spec.RootOverlay}, spec); err != nil {
			return err
		}
	}
	if spec.RootOverlay {
		// Only what is below the overlay is read-only.
		a.groups = append(a.groups, "overlay")
		a.boot.Mounts[0].Overlay, a.boot.Mounts[0].ReadOnly = true, false
	}
	return nil
}

// addShares shares directories. One is mounted before those inside it.
func (a *assembly) addShares(spec Spec) error {
	shares := slices.SortedStableFunc(slices.Values(spec.Shares), func(a, b Share) int { return cmp.Compare(a.Guest, b.Guest) })
	for i, s := range shares {
		if err := a.share(fmt.Sprintf("dir%d", i), s, spec); err != nil {
			return err
		}
	}
	return nil
}

// share adds a shared directory: its server, its device and its mount.
func (a *assembly) share(tag string, s Share, spec Spec) error {
	log := a.log.With("device", "fs", "tag", tag)
	moved := spec.Origin != nil && slices.Contains(spec.Origin.Moved, s.Guest)
	server, err := fsserver.New(s.Host, fsserver.Options{ReadOnly: s.ReadOnly, Budget: a.files, Replaced: moved, Logger: log})
	if err != nil {
		return fmt.Errorf("share %s: %w", s.Host, err)
	}
	a.closers = append(a.closers, server)
	dev, err := fs.New(tag, min(spec.VCPUs, maxShareQueues), server)
	if err != nil {
		return err
	}
	a.addDevice(dev, "")
	a.shares = append(a.shares, attachedShare{s.Guest, dev})
	a.boot.Mounts = append(a.boot.Mounts, agentproto.Mount{Tag: tag, Target: s.Guest, ReadOnly: s.ReadOnly})
	return nil
}

// addDisks attaches the disks, the root's first.
func (a *assembly) addDisks(spec Spec, saved *OriginFiles) error {
	if d := spec.RootDisk; d != nil {
		// Below an overlay nobody writes it.
		if err := a.disk(RootName, Disk{d.Path, d.ReadOnly || spec.RootOverlay}, spec, saved); err != nil {
			return err
		}
	}
	for i, d := range spec.Disks {
		if err := a.disk(DiskName(i), d, spec, saved); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) disk(serial string, d Disk, spec Spec, saved *OriginFiles) error {
	image, err := openDisk(serial, d, spec, saved)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, image)
	dev, err := blk.New(image, blk.Options{Serial: serial, ReadOnly: d.ReadOnly, Queues: min(spec.VCPUs, maxDiskQueues)},
		a.log.With("device", "blk", "serial", serial))
	if err != nil {
		return err
	}
	a.addDevice(dev, "blk")
	a.disks = append(a.disks, attachedDisk{name: serial, dev: dev, image: image, readOnly: d.ReadOnly})
	return nil
}

// openDisk opens and locks a disk. A clone's writes go into a file of its own, above
// what was saved of the disk.
func openDisk(serial string, d Disk, spec Spec, saved *OriginFiles) (diskImage, error) {
	if spec.Origin != nil {
		if i := slices.Index(spec.Origin.Disks, serial); i >= 0 {
			return overlay(saved.Disks[i], spec.Dir)
		}
	}
	return diskimage.Open(d.Path, d.ReadOnly)
}

// overlay puts a file in dir above what was saved of a disk.
func overlay(base *os.File, dir string) (diskImage, error) {
	info, err := base.Stat()
	if err != nil {
		return nil, err
	}
	return diskimage.OpenOverlay(base, info.Size(), dir)
}
