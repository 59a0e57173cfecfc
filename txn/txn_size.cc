#include "txn/txn_size.h"

#include "txn/errors.h"

namespace quorate {

Status TxnSize::Check() const { return CheckTxnSize(bytes_, keys_, ranges_); }

}  // namespace quorate
