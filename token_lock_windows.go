package chatdm

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const openNonblock = 0

var (
	kernel32     = syscall.NewLazyDLL("kernel32.dll")
	lockFileEx   = kernel32.NewProc("LockFileEx")
	unlockFileEx = kernel32.NewProc("UnlockFileEx")
)

const (
	lockfileFailImmediately = 1
	lockfileExclusiveLock   = 2

	errorSharingViolation syscall.Errno = 32
	errorLockViolation    syscall.Errno = 33
)

// tryLockFile locks an open file until it is unlocked or closed, or until the process
// ends. It reports false if the file is already locked, even in this process.
func tryLockFile(file *os.File) (bool, error) {
	var at syscall.Overlapped
	r, _, err := lockFileEx.Call(file.Fd(), lockfileExclusiveLock|lockfileFailImmediately, 0, 1, 0, uintptr(unsafe.Pointer(&at)))
	if r != 0 {
		return true, nil
	}
	if errors.Is(err, errorLockViolation) {
		return false, nil
	}
	return false, err
}

// unlockFile unlocks a file immediately. If a file is only closed, the system may unlock it
// later.
func unlockFile(file *os.File) {
	var at syscall.Overlapped
	_, _, _ = unlockFileEx.Call(file.Fd(), 0, 1, 0, uintptr(unsafe.Pointer(&at)))
}

// retryFile calls open, which opens or renames a file. It repeats the call while another
// process, such as a virus scanner, is using the file, for up to two seconds.
func retryFile(open func() error) error {
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := open()
		if !errors.Is(err, syscall.ERROR_ACCESS_DENIED) && !errors.Is(err, errorSharingViolation) || time.Since(start) > 2*time.Second {
			return err
		}
	}
}

// checkFileAccess does nothing, because the mode of a file says nothing about its access
// control list.
func checkFileAccess(string, fs.FileInfo) error { return nil }

// syncDir does nothing, because Windows cannot sync directories.
func (s *FileTokenStore) syncDir(string) error { return nil }
