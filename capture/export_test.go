package capture

// What tests outside the package need to know of its insides.
const (
	LeaseBlocks            = leaseBlocks
	Overdraft              = overdraft
	MaxQueuedClickBytes    = maxQueuedClickBytes
	MaxQueuedPostbackBytes = maxQueuedPostbackBytes
	RetryEvery             = retryEvery
	FeedBuffer             = feedBuffer
	MaxBlockPlain          = maxBlockPlain
	MaxName                = maxName
)

var CutString = cutString
