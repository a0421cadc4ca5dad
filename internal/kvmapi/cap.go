package kvmapi

// Cap is an extension of KVM that can be asked for and, some of them, switched
// on (kvm.h, KVM_CAP_*).
type Cap uint32

// The extensions that a monitor has a use for. The comment says what
// CheckExtension answers where it is not simply 1.
const (
	CapIRQChip          Cap = 0
	CapUserMemory       Cap = 3
	CapSetTSSAddr       Cap = 4
	CapNRVCPUs          Cap = 9  // vCPUs that a machine had better not exceed
	CapNRMemslots       Cap = 10 // memory slots that a machine can have
	CapMPState          Cap = 14
	CapIRQFD            Cap = 32
	CapIOEventFD        Cap = 36
	CapIdentityMapAddr  Cap = 37
	CapAdjustClock      Cap = 39 // the flags that SetClock accepts
	CapVCPUEvents       Cap = 41
	CapDebugRegs        Cap = 50
	CapXSave            Cap = 55
	CapXCRs             Cap = 56
	CapTSCControl       Cap = 60
	CapGetTSCKHz        Cap = 61
	CapMaxVCPUs         Cap = 66 // vCPUs that a machine can have
	CapTSCDeadlineTimer Cap = 72
	CapKVMClockCtrl     Cap = 76
	CapMaxVCPUID        Cap = 128 // one more than the highest vCPU id
	CapX2APICAPI        Cap = 129
	CapImmediateExit    Cap = 136
	CapX86DisableExits  Cap = 143 // the flags that it can be enabled with
	CapBinaryStatsFD    Cap = 203
	CapXSave2           Cap = 208 // size of the XSave area in bytes; 0 means 4096
)

// Flags of [CapX86DisableExits] (7.13): what a guest may do without leaving for
// its host.
const (
	DisableExitMWAIT  = 1 << 0
	DisableExitHLT    = 1 << 1
	DisableExitPause  = 1 << 2
	DisableExitCState = 1 << 3
)

// Flags of [CapX2APICAPI] (7.7).
const (
	X2APICUse32BitIDs           = 1 << 0
	X2APICDisableBroadcastQuirk = 1 << 1
)
