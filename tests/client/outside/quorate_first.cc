// quorate comes first, the service's own macros after it: nothing of ours is redefined.
#include <quorate/asio.h>
#include <quorate/database.h>
#include <quorate/task.h>

#if defined(CHECK) || defined(RETURN_IF_ERROR) || defined(CO_RETURN_IF_ERROR) || \
    defined(ASSIGN_OR_RETURN) || defined(CO_ASSIGN_OR_RETURN) || defined(STATUS_CONCAT) || \
    defined(PROBE) || defined(MUTANT)
#error "a macro of quorate's own reaches its users"
#endif
#define CHECK(condition) ((condition) ? 1 : 0)

int UsesItsOwnCheck();
int UsesItsOwnCheck() { return CHECK(true); }
