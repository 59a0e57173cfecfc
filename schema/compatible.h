// Whether a program that was built with one declaration of a row's message may go by a catalog that
// has another one.
#pragma once

#include "base/status.h"

namespace google::protobuf {
class Descriptor;
}  // namespace google::protobuf

namespace quorate::schema {

// Fields that both know, by number, in the messages and in all that they consist of, must be of one
// type, and both repeated or both not: what one side writes the other reads. Fields that one side
// alone knows are kept by the other as they are. Names do not count. FAILED_PRECONDITION: names the
// field and what it is on either side.
Status CheckCompatible(const google::protobuf::Descriptor& program,
                       const google::protobuf::Descriptor& catalog);

}  // namespace quorate::schema
