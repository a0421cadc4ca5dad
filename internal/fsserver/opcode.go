package fsserver

// Opcodes of the FUSE protocol (enum fuse_opcode in linux/fuse.h) that this
// package treats apart from the rest.
const (
	opWrite   = 16
	opInit    = 26
	opDestroy = 38
)

// operation is the shape of one kind of request.
type operation struct {
	args    int  // bytes of fixed arguments after the header, at least
	names   int  // NUL-terminated strings after the arguments
	tail    bool // other bytes may follow
	noReply bool
	mutates bool // changes the directory whatever its arguments say

	// maxReply bounds the reply size that the arguments ask for, in bytes; the
	// 32-bit field is at offset replyAt of the arguments. Zero: they ask none.
	maxReply uint32
	replyAt  int
}

// maxXattr is XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h, in bytes.
const maxXattr = 64 << 10

// operations holds what is served, by opcode. Anything else is answered with
// ENOSYS, which the guest's kernel takes as "never ask again": locks and ACCESS
// are its own business, SYNCFS would let a guest stall the host's whole file
// system, and STATX adds only a birth time for a round trip per stat.
var operations = map[uint32]operation{
	1:         {names: 1},                                  // LOOKUP
	2:         {args: 8, noReply: true},                    // FORGET
	3:         {args: 16},                                  // GETATTR
	4:         {args: 88, mutates: true},                   // SETATTR
	5:         {args: 0},                                   // READLINK
	6:         {names: 2, mutates: true},                   // SYMLINK
	8:         {args: 16, names: 1, mutates: true},         // MKNOD
	9:         {args: 8, names: 1, mutates: true},          // MKDIR
	10:        {names: 1, mutates: true},                   // UNLINK
	11:        {names: 1, mutates: true},                   // RMDIR
	12:        {args: 8, names: 2, mutates: true},          // RENAME
	13:        {args: 8, names: 1, mutates: true},          // LINK
	14:        {args: 8},                                   // OPEN
	15:        {args: 40, maxReply: maxWrite, replyAt: 16}, // READ
	opWrite:   {args: 40, tail: true, mutates: true},
	17:        {args: 0},                                      // STATFS
	18:        {args: 24},                                     // RELEASE
	20:        {args: 16},                                     // FSYNC
	21:        {args: 8, names: 1, tail: true, mutates: true}, // SETXATTR
	22:        {args: 8, names: 1, maxReply: maxXattr},        // GETXATTR
	23:        {args: 8, maxReply: maxXattr},                  // LISTXATTR
	24:        {names: 1, mutates: true},                      // REMOVEXATTR
	25:        {args: 24},                                     // FLUSH
	opInit:    {args: 16, tail: true},
	27:        {args: 8},                                   // OPENDIR
	28:        {args: 40, maxReply: maxWrite, replyAt: 16}, // READDIR
	29:        {args: 24},                                  // RELEASEDIR
	30:        {args: 16},                                  // FSYNCDIR
	35:        {args: 16, names: 1, mutates: true},         // CREATE
	opDestroy: {args: 0},
	42:        {args: 8, tail: true, noReply: true},        // BATCH_FORGET
	43:        {args: 32, mutates: true},                   // FALLOCATE
	44:        {args: 40, maxReply: maxWrite, replyAt: 16}, // READDIRPLUS
	45:        {args: 16, names: 2, mutates: true},         // RENAME2
	46:        {args: 24},                                  // LSEEK
	47:        {args: 56, mutates: true},                   // COPY_FILE_RANGE
	51:        {args: 16, names: 1, mutates: true},         // TMPFILE
}
